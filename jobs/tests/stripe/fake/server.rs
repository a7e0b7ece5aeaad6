//! HTTP/1.1 by hand, because a fault must be able to break the connection at any point.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::state::{Call, Reply, State};
use super::{Fault, HandClock};
use jobs::stripe::Clock as _;

pub async fn serve(listener: TcpListener, state: Arc<Mutex<State>>, clock: Arc<HandClock>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { return };
        stream.set_nodelay(true).unwrap();
        tokio::spawn(connection(stream, state.clone(), clock.clone()));
    }
}

async fn connection(stream: TcpStream, state: Arc<Mutex<State>>, clock: Arc<HandClock>) {
    {
        let mut state = state.lock().unwrap();
        state.connections += 1;
        state.open += 1;
    }
    calls(stream, &state, &clock).await;
    state.lock().unwrap().open -= 1;
}

async fn calls(mut stream: TcpStream, state: &Mutex<State>, clock: &HandClock) {
    let mut buffer = Vec::new();
    while let Some(call) = read_call(&mut stream, &mut buffer).await {
        let busy = state.lock().unwrap().enter(&call);
        // Room for a second call of the same customer and meter to come in, if anybody makes one.
        tokio::task::yield_now().await;
        let (fault, reply) = {
            let mut state = state.lock().unwrap();
            let done = state.answer(&call, clock.now_us());
            state.leave(busy);
            done
        };
        match fault {
            Some(Fault::SilentBefore | Fault::SilentAfter) => {
                // Until the other side gives up.
                let _ = stream.read(&mut [0]).await;
                return;
            }
            Some(Fault::ResetBefore | Fault::ResetAfter) => {
                let _ = stream.set_zero_linger();
                return;
            }
            Some(Fault::CutAfter) => {
                let text = written(&reply);
                let _ = stream.write_all(&text.as_bytes()[..text.len() - 5]).await;
                return;
            }
            _ => {
                if stream.write_all(written(&reply).as_bytes()).await.is_err() {
                    return;
                }
            }
        }
    }
}

fn written(reply: &Reply) -> String {
    let mut headers = String::new();
    for (name, value) in &reply.headers {
        headers += name;
        headers += ": ";
        headers += value;
        headers += "\r\n";
    }
    let length = reply.body.len();
    format!("HTTP/1.1 {} -\r\n{headers}content-length: {length}\r\n\r\n{}", reply.status, reply.body)
}

/// The next request of a connection; nothing when the other side is gone.
async fn read_call(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Call> {
    loop {
        if let Some((call, length)) = parse(buffer) {
            buffer.drain(..length);
            return Some(call);
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
}

fn parse(buffer: &[u8]) -> Option<(Call, usize)> {
    let head_length = buffer.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&buffer[..head_length]).expect("a head of plain text");
    let mut lines = head.lines();
    let mut words = lines.next()?.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?);
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let header = |name: &str| headers.iter().find(|(own, _)| own == name).map(|(_, value)| value.clone());
    let body_length: usize = header("content-length").map_or(0, |length| length.parse().unwrap());
    let body = buffer.get(head_length..head_length + body_length)?;
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let text = if method == "GET" { query.as_bytes() } else { body };
    let call = Call {
        path: path.to_owned(),
        parameters: url::form_urlencoded::parse(text).into_owned().collect(),
        authorization: header("authorization"),
        idempotency_key: header("idempotency-key"),
        api_version: header("stripe-version"),
        method,
    };
    Some((call, head_length + body_length))
}
