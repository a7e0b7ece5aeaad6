//! Passwords: SCRAM-SHA-256 as PostgreSQL does it (RFC 5802, RFC 7677), and with it channel binding by the server's
//! certificate (RFC 5929), by which a client sees that nobody stands between.
//!
//! Owns what is stored of a password, the verifier, in PostgreSQL's own notation, and the server's half of a login. From
//! a verifier nobody can log in: it does not contain what a client must know. Does not own sending messages.

use std::fmt;
use std::num::NonZeroU32;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use datafusion_postgres::pgwire::api::auth::sasl::scram::{gen_salted_password, random_nonce};
use ring::{digest, hmac};

pub const MECHANISM: &str = "SCRAM-SHA-256";
pub const MECHANISM_PLUS: &str = "SCRAM-SHA-256-PLUS";
/// How a client that binds the login to its channel begins.
const BOUND: &str = "p=tls-server-end-point";
/// PostgreSQL's default too.
const ITERATIONS: u32 = 4096;
/// More would let a mistyped setting block every login.
const ITERATIONS_MAX: u32 = 10_000_000;
const HASH_BYTES: usize = digest::SHA256_OUTPUT_LEN;

/// What is stored of a password.
#[derive(Clone, PartialEq, Eq)]
pub struct Verifier {
    iterations: NonZeroU32,
    salt: Vec<u8>,
    stored_key: [u8; HASH_BYTES],
    server_key: [u8; HASH_BYTES],
}

impl fmt::Debug for Verifier {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Verifier(hidden)")
    }
}

impl Verifier {
    /// The verifier of a password, with a salt of its own.
    pub fn of(password: &str) -> Self {
        Self::with_salt(password, STANDARD.decode(random_nonce()).expect("a nonce is base64"))
    }

    /// The answer for users that do not exist: nobody knows its password, and for the same name it always has
    /// the same salt, as that of a user has.
    pub fn of_nobody(name: &str, secret: &str) -> Self {
        let salt = hash(format!("{name}\0{secret}").as_bytes())[..18].to_vec();
        Self { salt, ..Self::with_salt(&random_nonce(), vec![0; 18]) }
    }

    fn with_salt(password: &str, salt: Vec<u8>) -> Self {
        let salted = gen_salted_password(password, &salt, ITERATIONS as usize);
        let stored_key = hash(&mac(&salted, b"Client Key"));
        let server_key = mac(&salted, b"Server Key");
        Self { iterations: NonZeroU32::new(ITERATIONS).expect("not 0"), salt, stored_key, server_key }
    }

    /// Reads PostgreSQL's notation: `SCRAM-SHA-256$4096:salt$StoredKey:ServerKey`.
    pub fn parse(text: &str) -> Option<Self> {
        let (head, keys) = text.strip_prefix("SCRAM-SHA-256$")?.split_once('$')?;
        let (iterations, salt) = head.split_once(':')?;
        let (stored_key, server_key) = keys.split_once(':')?;
        let key = |text: &str| STANDARD.decode(text).ok()?.try_into().ok();
        let iterations = iterations.parse::<NonZeroU32>().ok()?;
        Some(Self {
            iterations: Some(iterations)
                .filter(|count| (ITERATIONS..=ITERATIONS_MAX).contains(&count.get()))?,
            salt: STANDARD.decode(salt).ok().filter(|salt| !salt.is_empty())?,
            stored_key: key(stored_key)?,
            server_key: key(server_key)?,
        })
    }

    pub fn write(&self) -> String {
        let [salt, stored_key, server_key] =
            [&self.salt[..], &self.stored_key, &self.server_key].map(|bytes| STANDARD.encode(bytes));
        format!("SCRAM-SHA-256${}:{salt}${stored_key}:{server_key}", self.iterations)
    }
}

/// Why a login failed; told to the client as "password authentication failed", whatever it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ScramError {
    #[error("the login message is not one of SCRAM-SHA-256")]
    Malformed,
    #[error(
        "the client and this server see different channels between them, or do not agree on binding to one"
    )]
    ChannelBinding,
    #[error("the password is wrong")]
    WrongPassword,
}

/// A login of which the first message came in and was answered.
#[derive(Debug)]
pub struct Exchange {
    verifier: Verifier,
    /// What the first message says of channel binding, and what is bound.
    channel: Vec<u8>,
    client_first: String,
    server_first: String,
    nonce: String,
}

impl Exchange {
    /// Takes the client's first message and answers it. `mechanism` is the one that the client chose; `end_point` is what
    /// the channel can be bound to, if that was offered.
    pub fn begin(
        verifier: Verifier,
        mechanism: &str,
        end_point: Option<&[u8]>,
        message: &[u8],
    ) -> Result<(Self, String), ScramError> {
        let message = std::str::from_utf8(message).map_err(|_| ScramError::Malformed)?;
        // `n,,`, `y,,` or `p=kind,,`, and between the commas perhaps another name to act for; then `n=user,r=nonce`.
        let mut parts = message.splitn(3, ',');
        let (binding, authorization) = (parts.next(), parts.next());
        let client_first = parts.next().ok_or(ScramError::Malformed)?;
        let bound = match (mechanism, binding, authorization, end_point) {
            (MECHANISM, Some("n"), Some(""), _) | (MECHANISM, Some("y"), Some(""), None) => &[],
            (MECHANISM_PLUS, Some(BOUND), Some(""), Some(end_point)) => end_point,
            // It would bind and was not offered to: somebody changed the offer.
            (MECHANISM, Some("y"), Some(""), Some(_)) => return Err(ScramError::ChannelBinding),
            (_, Some(binding), Some(""), _) if binding.starts_with("p=") => {
                return Err(ScramError::ChannelBinding);
            }
            _ => return Err(ScramError::Malformed),
        };
        let header = &message[..message.len() - client_first.len()];
        let client_nonce = field(client_first, "r=").filter(|nonce| !nonce.is_empty());
        let nonce = format!("{}{}", client_nonce.ok_or(ScramError::Malformed)?, random_nonce());
        let server_first =
            format!("r={nonce},s={},i={}", STANDARD.encode(&verifier.salt), verifier.iterations);
        let exchange = Self {
            verifier,
            channel: [header.as_bytes(), bound].concat(),
            client_first: client_first.to_owned(),
            server_first: server_first.clone(),
            nonce,
        };
        Ok((exchange, server_first))
    }

    /// Takes the client's last message; if its proof holds, answers with that of the server.
    pub fn finish(&self, message: &[u8]) -> Result<String, ScramError> {
        let message = std::str::from_utf8(message).map_err(|_| ScramError::Malformed)?;
        let (without_proof, proof) = message.rsplit_once(",p=").ok_or(ScramError::Malformed)?;
        let proof: [u8; HASH_BYTES] = STANDARD
            .decode(proof)
            .ok()
            .and_then(|proof| proof.try_into().ok())
            .ok_or(ScramError::Malformed)?;
        if field(without_proof, "c=") != Some(&STANDARD.encode(&self.channel)) {
            return Err(ScramError::ChannelBinding);
        }
        if field(without_proof, "r=") != Some(&self.nonce) {
            return Err(ScramError::Malformed);
        }
        let signed = format!("{},{},{without_proof}", self.client_first, self.server_first);
        let signature = mac(&self.verifier.stored_key, signed.as_bytes());
        let client_key: Vec<u8> = proof.iter().zip(signature).map(|(proof, signed)| proof ^ signed).collect();
        // Both are hashes, so how long it takes to compare them tells nothing of use.
        if hash(&client_key) != self.verifier.stored_key {
            return Err(ScramError::WrongPassword);
        }
        Ok(format!("v={}", STANDARD.encode(mac(&self.verifier.server_key, signed.as_bytes()))))
    }
}

/// The value of a field of a message, which are parted by commas.
fn field<'m>(message: &'m str, name: &str) -> Option<&'m str> {
    message.split(',').find_map(|part| part.strip_prefix(name))
}

fn hash(bytes: &[u8]) -> [u8; HASH_BYTES] {
    digest::digest(&digest::SHA256, bytes).as_ref().try_into().expect("of this length")
}

fn mac(key: &[u8], message: &[u8]) -> [u8; HASH_BYTES] {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    hmac::sign(&key, message).as_ref().try_into().expect("of this length")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The exchange of RFC 7677, section 3, with the server's nonce set to the one printed there.
    fn exchange_of_the_rfc() -> Exchange {
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let verifier = Verifier::with_salt("pencil", salt);
        let (exchange, _) =
            Exchange::begin(verifier, MECHANISM, None, b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO").unwrap();
        let nonce = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0".to_owned();
        let server_first = format!("r={nonce},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096");
        Exchange { nonce, server_first, ..exchange }
    }

    #[test]
    fn the_example_of_the_rfc_logs_in() {
        let last = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                    p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
        let answer = exchange_of_the_rfc().finish(last.as_bytes());
        assert_eq!(answer.as_deref(), Ok("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="));
    }

    #[test]
    fn a_changed_message_does_not() {
        let last = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                    p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
        let cases = [
            (last.replace("p=dHzb", "p=aHzb"), ScramError::WrongPassword),
            (last.replace("biws", "eSws"), ScramError::ChannelBinding),
            (last.replace("%hv", "%hw"), ScramError::Malformed),
            (last.replace(",p=", ",q="), ScramError::Malformed),
            (String::new(), ScramError::Malformed),
        ];
        for (message, expected) in cases {
            assert_eq!(exchange_of_the_rfc().finish(message.as_bytes()), Err(expected), "{message}");
        }
        let begin =
            |first: &str| Exchange::begin(Verifier::of("x"), MECHANISM, None, first.as_bytes()).map(|_| ());
        assert_eq!(begin("p=tls-server-end-point,,n=,r=abc"), Err(ScramError::ChannelBinding));
        for malformed in ["", "n", "n,,", "n,,n=a", "n,,r=", "n,a=root,n=a,r=abc", "x,,n=a,r=b"] {
            assert_eq!(begin(malformed), Err(ScramError::Malformed), "{malformed}");
        }
    }

    /// The example of the RFC with a channel: only what the client binds changes, and so its proof.
    #[test]
    fn a_login_is_bound_to_its_channel() {
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let begin = |mechanism: &str, end_point: Option<&[u8]>, first: &str| {
            Exchange::begin(
                Verifier::with_salt("pencil", salt.clone()),
                mechanism,
                end_point,
                first.as_bytes(),
            )
        };
        let first = "p=tls-server-end-point,,n=user,r=abc";
        let finish = |seen: &[u8]| {
            let (exchange, server_first) = begin(MECHANISM_PLUS, Some(b"certificate"), first).unwrap();
            let channel = STANDARD.encode([b"p=tls-server-end-point,,", seen].concat());
            let last = format!("c={channel},r={}", exchange.nonce);
            let salted = gen_salted_password("pencil", &salt, ITERATIONS as usize);
            let client_key = mac(&salted, b"Client Key");
            let signed = format!("n=user,r=abc,{server_first},{last}");
            let signature = mac(&hash(&client_key), signed.as_bytes());
            let proof: Vec<u8> = client_key.iter().zip(signature).map(|(key, signed)| key ^ signed).collect();
            exchange.finish(format!("{last},p={}", STANDARD.encode(proof)).as_bytes()).map(|_| ())
        };
        assert_eq!(finish(b"certificate"), Ok(()));
        assert_eq!(finish(b"another one"), Err(ScramError::ChannelBinding));
        let failed = |mechanism: &str, end_point: Option<&[u8]>, first: &str| {
            begin(mechanism, end_point, first).map(|_| ()).unwrap_err()
        };
        let plain = "y,,n=user,r=abc";
        assert_eq!(failed(MECHANISM, Some(b"certificate"), plain), ScramError::ChannelBinding);
        assert!(begin(MECHANISM, None, plain).is_ok());
        assert_eq!(failed(MECHANISM_PLUS, None, first), ScramError::ChannelBinding);
        assert_eq!(failed(MECHANISM_PLUS, Some(b"certificate"), "n,,n=,r=abc"), ScramError::Malformed);
        let other = "p=tls-unique,,n=,r=abc";
        assert_eq!(failed(MECHANISM_PLUS, Some(b"certificate"), other), ScramError::ChannelBinding);
    }

    #[test]
    fn a_verifier_is_written_and_read_as_postgresql_does() {
        // The password and salt of RFC 7677, in the notation of pg_authid.rolpassword.
        let verifier = Verifier::with_salt("pencil", STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap());
        let text = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:\
                    wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";
        assert_eq!(verifier.write(), text);
        assert_eq!(Verifier::parse(text), Some(verifier));
        assert_ne!(Verifier::of("pencil").salt, Verifier::of("pencil").salt);
        assert_eq!(format!("{:?}", Verifier::of("pencil")), "Verifier(hidden)");
        for wrong in ["", "pencil", "md5abc", &text.replace("4096", "1"), &text[..text.len() - 4]] {
            assert_eq!(Verifier::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_user_that_does_not_exist_looks_like_one_that_does() {
        let salt = |name| Verifier::of_nobody(name, "secret").salt;
        assert_eq!(salt("ann"), salt("ann"));
        assert_ne!(salt("ann"), salt("bob"));
        assert_eq!(salt("ann").len(), Verifier::of("x").salt.len());
    }
}
