//! Kafka's protocol, as much of it as is needed to send what no client of ours can: header names that are not text.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

const PRODUCE: i16 = 0;
const VERSION: i16 = 3;

/// Appends one message to a partition; panics unless the broker takes it.
pub fn produce(broker: &str, topic: &str, partition: i32, headers: &[(&[u8], &[u8])], payload: &[u8]) {
    let records = batch(headers, payload);
    let mut request = Vec::new();
    request.extend(PRODUCE.to_be_bytes());
    request.extend(VERSION.to_be_bytes());
    request.extend(7_i32.to_be_bytes()); // correlation
    request.extend(text("raw"));
    request.extend((-1_i16).to_be_bytes()); // no transaction
    request.extend((-1_i16).to_be_bytes()); // acknowledged by all
    request.extend(10_000_i32.to_be_bytes());
    request.extend(1_i32.to_be_bytes());
    request.extend(text(topic));
    request.extend(1_i32.to_be_bytes());
    request.extend(partition.to_be_bytes());
    request.extend(sized(records));
    let mut stream = TcpStream::connect(broker).unwrap();
    stream.write_all(&sized(request)).unwrap();
    let mut length = [0; 4];
    stream.read_exact(&mut length).unwrap();
    let mut answer = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut answer).unwrap();
    // Correlation, one topic with its name, one partition with its number.
    let error_at = 4 + 4 + text(topic).len() + 4 + 4;
    assert_eq!(answer[error_at..error_at + 2], [0, 0], "the broker refused the message: {answer:?}");
}

/// A batch of one record.
fn batch(headers: &[(&[u8], &[u8])], payload: &[u8]) -> Vec<u8> {
    let now_ms = jiff::Timestamp::now().as_millisecond();
    let mut record = vec![0]; // attributes
    record.extend(varint(0)); // time after the batch's
    record.extend(varint(0)); // offset after the batch's
    record.extend(varint(-1)); // no key
    record.extend(bytes(payload));
    record.extend(varint(headers.len() as i64));
    for (name, value) in headers {
        record.extend(bytes(name));
        record.extend(bytes(value));
    }
    let record = bytes(&record);
    let mut rest = Vec::new();
    rest.extend((-1_i32).to_be_bytes()); // the leader's epoch
    rest.push(2); // the format's version
    rest.extend(0_u32.to_be_bytes()); // a checksum that consumers check only if they are told to
    rest.extend(0_i16.to_be_bytes()); // attributes
    rest.extend(0_i32.to_be_bytes()); // last offset after the first
    rest.extend(now_ms.to_be_bytes());
    rest.extend(now_ms.to_be_bytes());
    rest.extend((-1_i64).to_be_bytes()); // no producer's id,
    rest.extend((-1_i16).to_be_bytes()); // epoch
    rest.extend((-1_i32).to_be_bytes()); // or sequence
    rest.extend(1_i32.to_be_bytes());
    rest.extend(record);
    let mut batch = 0_i64.to_be_bytes().to_vec(); // the broker sets the offset
    batch.extend(sized(rest));
    batch
}

fn sized(content: Vec<u8>) -> Vec<u8> {
    let mut all = (content.len() as i32).to_be_bytes().to_vec();
    all.extend(content);
    all
}

fn text(text: &str) -> Vec<u8> {
    let mut all = (text.len() as i16).to_be_bytes().to_vec();
    all.extend(text.as_bytes());
    all
}

fn bytes(content: &[u8]) -> Vec<u8> {
    let mut all = varint(content.len() as i64);
    all.extend(content);
    all
}

/// Zigzag, seven bits in each byte, the lowest first.
fn varint(number: i64) -> Vec<u8> {
    let mut rest = ((number << 1) ^ (number >> 63)) as u64;
    let mut all = Vec::new();
    while rest >= 0x80 {
        all.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    all.push(rest as u8);
    all
}
