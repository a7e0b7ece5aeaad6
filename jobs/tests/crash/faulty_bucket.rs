//! A server between programs and the server of a bucket that fails, by seed, in the ways in which real ones fail: it
//! refuses, hangs up or says nothing, before or after the bucket has done what was asked, and breaks bodies off in the
//! middle.
//!
//! It speaks as much of HTTP/1.1 as the clients of buckets do: bodies have a length, and a connection is good for one
//! request, so that none depends on what became of another.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::random::Random;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// An answer with this status, without the bucket.
    Refused(u16),
    /// The bucket did it, and this is the answer.
    RefusedAfter(u16),
    HangsUp,
    HangsUpAfter,
    /// It hangs up, and the bucket does it a little later.
    HangsUpBefore,
    /// Nobody answers until the client has waited for long enough.
    Silent,
    SilentAfter,
    /// The connection is reset when half of the request's body is there.
    RequestCut,
    /// The connection is reset when half of the answer is sent.
    AnswerCut,
}

const FAULTS: [(Fault, &str); 13] = [
    (Fault::Refused(500), "500 without effect"),
    (Fault::Refused(503), "503 without effect"),
    (Fault::Refused(429), "429 with Retry-After"),
    (Fault::RefusedAfter(500), "500 after the effect"),
    (Fault::HangsUp, "hung up before the effect"),
    (Fault::HangsUpAfter, "hung up after the effect"),
    (Fault::HangsUpBefore, "hung up, effect later"),
    (Fault::Silent, "time-out before the effect"),
    (Fault::SilentAfter, "time-out after the effect"),
    (Fault::RequestCut, "reset in the request's body"),
    (Fault::AnswerCut, "reset in the answer's body"),
    (Fault::Refused(409), "409 without effect"),
    (Fault::RefusedAfter(412), "412 after own success"),
];

impl Fault {
    fn may_meet(self, request: &Request) -> bool {
        match self {
            // Only who asks for a condition can be told that it does not hold.
            Self::Refused(409) | Self::RefusedAfter(412) => request.is_conditional(),
            Self::RequestCut => request.body_bytes > 1,
            Self::AnswerCut => request.method() == "GET",
            _ => true,
        }
    }

    /// A fault that has to be waited out comes less often than others.
    fn weight(self) -> u64 {
        if matches!(self, Self::Silent | Self::SilentAfter) { 4 } else { 1 }
    }
}

/// How often each fault was injected, by its name; all of them, also those that never were.
pub type Injected = BTreeMap<&'static str, u64>;

/// Of a hundred requests, how many fail.
#[derive(Debug, Clone, Copy)]
pub struct FaultsPercent {
    pub of_reads: u64,
    pub of_writes: u64,
}

struct Choices {
    random: Random,
    percent: FaultsPercent,
    requests: u64,
    injected: Injected,
}

impl Choices {
    /// What becomes of a request. Of the faults that may meet it those come first that were rarest so far, so that
    /// each has its turn.
    fn choose(&mut self, request: &Request) -> Option<Fault> {
        self.requests += 1;
        let is_read = matches!(request.method(), "GET" | "HEAD");
        let percent = if is_read { self.percent.of_reads } else { self.percent.of_writes };
        if self.random.below(100) >= percent {
            return None;
        }
        let often = |(fault, name): &&(Fault, &str)| self.injected[name] * fault.weight();
        let may_be = FAULTS.iter().filter(|(fault, _)| fault.may_meet(request));
        let rarest = may_be.clone().map(|it| often(&it)).min().expect("some meet every request");
        let rarest: Vec<_> = may_be.filter(|it| often(it) == rarest).collect();
        let (fault, name) = rarest[self.random.below(rarest.len() as u64) as usize];
        *self.injected.get_mut(name).expect("every name is there") += 1;
        Some(*fault)
    }
}

pub struct FaultyBucket {
    pub address: SocketAddr,
    choices: Arc<Mutex<Choices>>,
    /// Serves until it is dropped.
    _runtime: tokio::runtime::Runtime,
}

impl FaultyBucket {
    /// Stands before the server at `bucket`.
    pub fn start(bucket: SocketAddr, random: Random, percent: FaultsPercent) -> Self {
        let injected = FAULTS.iter().map(|(_, name)| (*name, 0)).collect();
        let choices = Arc::new(Mutex::new(Choices { random, percent, requests: 0, injected }));
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::clone(&choices);
        runtime.spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let choices = Arc::clone(&shared);
                tokio::spawn(async move {
                    // Clients die in the middle of it, and some answers are broken off on purpose.
                    let _ = serve(client, bucket, &choices).await;
                });
            }
        });
        Self { address, choices, _runtime: runtime }
    }

    /// How many requests came, and the faults that met some of them.
    pub fn injected(&self) -> (u64, Injected) {
        let choices = self.choices.lock().unwrap();
        (choices.requests, choices.injected.clone())
    }
}

async fn serve(mut client: TcpStream, bucket: SocketAddr, choices: &Mutex<Choices>) -> io::Result<()> {
    let Some(mut request) = Request::read_head(&mut client).await? else { return Ok(()) };
    let fault = choices.lock().unwrap().choose(&request);
    if fault == Some(Fault::RequestCut) {
        return cut_request(&request, client, bucket).await;
    }
    request.read_body(&mut client).await?;
    match fault {
        None => client.write_all(&request.forward(bucket).await?).await,
        Some(Fault::Refused(status)) => client.write_all(&refusal(status, &request)).await,
        Some(Fault::RefusedAfter(status)) => {
            request.forward(bucket).await?;
            client.write_all(&refusal(status, &request)).await
        }
        Some(Fault::HangsUp) => Ok(()),
        Some(Fault::HangsUpAfter) => request.forward(bucket).await.map(drop),
        Some(Fault::HangsUpBefore) => {
            drop(client);
            tokio::time::sleep(Duration::from_millis(30)).await;
            request.forward(bucket).await.map(drop)
        }
        Some(Fault::Silent) => wait_for_its_end(&mut client).await,
        Some(Fault::SilentAfter) => {
            request.forward(bucket).await?;
            wait_for_its_end(&mut client).await
        }
        Some(Fault::AnswerCut) => {
            let answer = request.forward(bucket).await?;
            let head = head_bytes(&answer).unwrap_or(answer.len());
            client.write_all(&answer[..head.midpoint(answer.len())]).await?;
            client.set_zero_linger()
        }
        Some(Fault::RequestCut) => unreachable!("its body is not read"),
    }
}

/// The bucket is told of the whole body and gets half of it, and so does this server.
async fn cut_request(request: &Request, mut client: TcpStream, bucket: SocketAddr) -> io::Result<()> {
    let half = request.body_bytes / 2;
    let mut body = request.body.clone();
    while body.len() < half {
        if client.read_buf(&mut body).await? == 0 {
            return Ok(());
        }
    }
    body.truncate(half);
    let mut connection = TcpStream::connect(bucket).await?;
    connection.write_all(&request.head_to_forward()).await?;
    connection.write_all(&body).await?;
    connection.set_zero_linger()?;
    client.set_zero_linger()
}

async fn wait_for_its_end(client: &mut TcpStream) -> io::Result<()> {
    while client.read(&mut [0; 16]).await? > 0 {}
    Ok(())
}

/// A request as its client sent it.
struct Request {
    /// Up to the empty line and with it.
    head: String,
    body_bytes: usize,
    body: Vec<u8>,
}

impl Request {
    /// Reads the head and what comes with it; none if the client has nothing to ask.
    async fn read_head(client: &mut TcpStream) -> io::Result<Option<Self>> {
        let mut read = Vec::new();
        let head_bytes = loop {
            if client.read_buf(&mut read).await? == 0 {
                return Ok(None);
            }
            if let Some(head_bytes) = head_bytes(&read) {
                break head_bytes;
            }
        };
        let body = read.split_off(head_bytes);
        let head = String::from_utf8(read).map_err(io::Error::other)?;
        let mut request = Self { head, body_bytes: 0, body };
        assert_eq!(request.header("transfer-encoding"), None, "a body without a length:\n{}", request.head);
        request.body_bytes = request.header("content-length").map_or(0, |length| length.parse().unwrap());
        Ok(Some(request))
    }

    async fn read_body(&mut self, client: &mut TcpStream) -> io::Result<()> {
        while self.body.len() < self.body_bytes {
            if client.read_buf(&mut self.body).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(())
    }

    fn method(&self) -> &str {
        self.head.split(' ').next().unwrap_or_default()
    }

    fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// Whether it writes only what is not there yet, as each bucket says it in its own words.
    fn is_conditional(&self) -> bool {
        self.header("if-none-match") == Some("*") || self.header("x-goog-if-generation-match") == Some("0")
    }

    fn head_to_forward(&self) -> Vec<u8> {
        let lines = self.head.strip_suffix("\r\n").expect("it ends with an empty line");
        format!("{lines}Connection: close\r\n\r\n").into_bytes()
    }

    /// Asks the bucket; its whole answer.
    async fn forward(&self, bucket: SocketAddr) -> io::Result<Vec<u8>> {
        let mut connection = TcpStream::connect(bucket).await?;
        connection.write_all(&self.head_to_forward()).await?;
        connection.write_all(&self.body).await?;
        let mut answer = Vec::new();
        connection.read_to_end(&mut answer).await?;
        Ok(answer)
    }
}

/// How long the head of a message is, with the empty line.
fn head_bytes(message: &[u8]) -> Option<usize> {
    message.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4)
}

fn refusal(status: u16, request: &Request) -> Vec<u8> {
    let retry_after = if status == 429 { "Retry-After: 1\r\n" } else { "" };
    let body = if request.method() == "HEAD" { "" } else { "<Error><Code>Injected</Code></Error>" };
    format!(
        "HTTP/1.1 {status} Injected\r\nContent-Type: application/xml\r\nContent-Length: {}\r\n\
         {retry_after}Connection: close\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}
