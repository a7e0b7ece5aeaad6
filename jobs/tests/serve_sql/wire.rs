//! A client of PostgreSQL's protocol, as small as it can be: written from the protocol's description, and shares no code with
//! the server.

use std::io::{self, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::{digest, hmac, pbkdf2};

/// What a statement, or several in one text, answered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    pub columns: Vec<String>,
    pub rows: Vec<Vec<Option<String>>>,
    pub tags: Vec<String>,
    /// Code and message.
    pub error: Option<(String, String)>,
    pub is_suspended: bool,
}

impl Answer {
    /// The only value.
    #[track_caller]
    pub fn value(&self) -> &str {
        assert_eq!(self.error, None);
        self.rows[0][0].as_deref().expect("not null")
    }

    #[track_caller]
    pub fn code(&self) -> &str {
        &self.error.as_ref().unwrap_or_else(|| panic!("no error: {self:?}")).0
    }
}

pub struct Client {
    stream: BufReader<TcpStream>,
    pub process: [u8; 4],
    pub key: Vec<u8>,
    /// As the last "ready" said: I, T or E.
    pub transaction: u8,
    /// Told by the server: names and values.
    pub parameters: Vec<(String, String)>,
}

impl Client {
    pub fn connect(address: SocketAddr, user: &str, password: &str) -> Result<Self, (String, String)> {
        let mut client = Self::open(address);
        client.startup(&[("user", user), ("database", "meterhouse")]);
        client.log_in(password)?;
        Ok(client)
    }

    /// A connection on which nothing was said.
    pub fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_mins(5))).unwrap();
        let stream = BufReader::new(stream);
        Self { stream, process: [0; 4], key: Vec::new(), transaction: b'I', parameters: Vec::new() }
    }

    pub fn startup(&mut self, parameters: &[(&str, &str)]) {
        let mut body = 196_608_i32.to_be_bytes().to_vec();
        for (name, value) in parameters {
            body.extend([name.as_bytes(), b"\0", value.as_bytes(), b"\0"].concat());
        }
        body.push(0);
        let mut message = (body.len() as i32 + 4).to_be_bytes().to_vec();
        message.extend(body);
        match self.stream.get_mut().write_all(&message) {
            // Whoever reads after this finds the connection closed.
            Err(error) if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => {}
            sent => sent.unwrap(),
        }
    }

    pub fn send_raw(&mut self, bytes: &[u8]) {
        self.stream.get_mut().write_all(bytes).unwrap();
    }

    /// Everything up to the end of the connection.
    pub fn read_raw(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let _ = self.stream.read_to_end(&mut bytes);
        bytes
    }

    pub fn stop(&self, how: Shutdown) {
        self.stream.get_ref().shutdown(how).unwrap();
    }

    fn log_in(&mut self, password: &str) -> Result<(), (String, String)> {
        let (_, mechanisms) = self.expect(b'R')?;
        assert!(mechanisms[4..].starts_with(b"SCRAM-SHA-256\0"), "{mechanisms:?}");
        let first = "n=,r=abcdefgh";
        let mut body = b"SCRAM-SHA-256\0".to_vec();
        body.extend((first.len() as i32 + 3).to_be_bytes());
        body.extend(format!("n,,{first}").bytes());
        self.send(b'p', &body);
        let (_, challenge) = self.expect(b'R')?;
        let challenge = String::from_utf8(challenge[4..].to_vec()).unwrap();
        self.send(b'p', proof(password, first, &challenge).as_bytes());
        loop {
            let (kind, body) = self.next().expect("the server goes on");
            match kind {
                b'E' => return Err(error_of(&body)),
                b'K' => {
                    self.process = body[..4].try_into().unwrap();
                    self.key = body[4..].to_vec();
                }
                b'S' => {
                    let mut texts = body.split(|byte| *byte == 0).map(text);
                    self.parameters.push((texts.next().unwrap(), texts.next().unwrap()));
                }
                b'Z' => return Ok(()),
                _ => {}
            }
        }
    }

    fn expect(&mut self, expected: u8) -> Result<(u8, Vec<u8>), (String, String)> {
        let (kind, body) = self.next().expect("the server answers");
        if kind == b'E' {
            return Err(error_of(&body));
        }
        assert_eq!(kind, expected, "{}", text(&body));
        Ok((kind, body))
    }

    pub fn send(&mut self, kind: u8, body: &[u8]) {
        let mut message = vec![kind];
        message.extend((body.len() as i32 + 4).to_be_bytes());
        message.extend(body);
        match self.stream.get_mut().write_all(&message) {
            // Whoever reads after this finds the connection closed.
            Err(error) if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => {}
            sent => sent.unwrap(),
        }
    }

    /// The next message.
    pub fn next(&mut self) -> io::Result<(u8, Vec<u8>)> {
        let mut head = [0; 5];
        self.stream.read_exact(&mut head)?;
        let length = i32::from_be_bytes(head[1..].try_into().unwrap()) as usize - 4;
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        Ok((head[0], body))
    }

    pub fn simple(&mut self, query: &str) -> Answer {
        self.send_simple(query);
        self.answer()
    }

    pub fn send_simple(&mut self, query: &str) {
        self.send(b'Q', &[query.as_bytes(), b"\0"].concat());
    }

    /// Parse, Bind, Describe, Execute and Sync at once, with values and results as text.
    pub fn extended(&mut self, query: &str, values: &[Option<&str>]) -> Answer {
        self.parse("", query);
        self.bind("", "", values);
        self.send(b'D', b"P\0");
        self.send(b'E', &[0, 0, 0, 0, 0]);
        self.send(b'S', b"");
        self.answer()
    }

    pub fn parse(&mut self, name: &str, query: &str) {
        self.send(b'P', &[name.as_bytes(), b"\0", query.as_bytes(), b"\0\0\0"].concat());
    }

    pub fn bind(&mut self, portal: &str, statement: &str, values: &[Option<&str>]) {
        let mut body = [portal.as_bytes(), b"\0", statement.as_bytes(), b"\0\0\0"].concat();
        body.extend((values.len() as i16).to_be_bytes());
        for value in values {
            body.extend(value.map_or(-1, |value| value.len() as i32).to_be_bytes());
            body.extend(value.unwrap_or_default().bytes());
        }
        body.extend([0, 0]);
        self.send(b'B', &body);
    }

    /// Everything up to "ready", or to the end of the connection.
    pub fn answer(&mut self) -> Answer {
        let mut answer = Answer::default();
        loop {
            let Ok((kind, body)) = self.next() else { return answer };
            match kind {
                b'T' => answer.columns = columns(&body),
                b'D' => answer.rows.push(values(&body)),
                // A line of COPY.
                b'd' => answer.rows.push(vec![Some(text(&body))]),
                b'C' => answer.tags.push(text(&body)),
                b'E' => answer.error = Some(error_of(&body)),
                b's' => answer.is_suspended = true,
                b'Z' => {
                    self.transaction = body[0];
                    return answer;
                }
                _ => {}
            }
        }
    }

    /// Asks, on a connection of its own, to cancel what this one runs.
    pub fn cancel(address: SocketAddr, process: [u8; 4], key: &[u8]) {
        let mut stream = TcpStream::connect(address).unwrap();
        let mut message = (12 + key.len() as i32).to_be_bytes().to_vec();
        message.extend(80_877_102_i32.to_be_bytes());
        message.extend(process);
        message.extend(key);
        stream.write_all(&message).unwrap();
        let _ = stream.read(&mut [0; 1]);
    }
}

fn proof(password: &str, first: &str, challenge: &str) -> String {
    let field = |name: &str| challenge.split(',').find_map(|it| it.strip_prefix(name)).unwrap();
    let rounds = field("i=").parse().unwrap();
    let mut salted = [0; 32];
    let salt = STANDARD.decode(field("s=")).unwrap();
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, rounds, &salt, password.as_bytes(), &mut salted);
    let mac = |key: &[u8], message: &[u8]| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message);
    let client_key = mac(&salted, b"Client Key");
    let stored_key = digest::digest(&digest::SHA256, client_key.as_ref());
    let without_proof = format!("c=biws,r={}", field("r="));
    let signature = mac(stored_key.as_ref(), format!("{first},{challenge},{without_proof}").as_bytes());
    let proof: Vec<u8> =
        client_key.as_ref().iter().zip(signature.as_ref()).map(|(key, it)| key ^ it).collect();
    format!("{without_proof},p={}", STANDARD.encode(proof))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim_end_matches('\0').to_owned()
}

fn error_of(body: &[u8]) -> (String, String) {
    let field = |kind: u8| {
        let fields = body.split(|byte| *byte == 0);
        fields
            .into_iter()
            .find(|field| field.first() == Some(&kind))
            .map_or_else(String::new, |it| text(&it[1..]))
    };
    (field(b'C'), field(b'M'))
}

fn columns(body: &[u8]) -> Vec<String> {
    let count = u16::from_be_bytes([body[0], body[1]]);
    let mut rest = &body[2..];
    (0..count)
        .map(|_| {
            let end = rest.iter().position(|byte| *byte == 0).unwrap();
            let name = text(&rest[..end]);
            rest = &rest[end + 19..];
            name
        })
        .collect()
}

fn values(body: &[u8]) -> Vec<Option<String>> {
    let count = u16::from_be_bytes([body[0], body[1]]);
    let mut rest = &body[2..];
    (0..count)
        .map(|_| {
            let length = i32::from_be_bytes(rest[..4].try_into().unwrap());
            rest = &rest[4..];
            let value = usize::try_from(length).ok().map(|length| text(&rest[..length]));
            rest = &rest[value.as_ref().map_or(0, |_| length as usize)..];
            value
        })
        .collect()
}
