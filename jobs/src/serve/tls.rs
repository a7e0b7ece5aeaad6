//! TLS for the server: reading the certificate and its key, and what of the certificate a login is bound to.
//!
//! Whatever is wrong with them stops the start: a server that was meant to encrypt never runs without.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use datafusion_postgres::pgwire::tokio::TlsAcceptor;
use ring::digest::{self, SHA256, SHA384, SHA512};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// The protocol's name, by which clients that begin with TLS at once ask for it.
const ALPN: &[u8] = b"postgresql";

/// Reads a certificate (with those that signed it, if there are any) and its key, both PEM.
pub fn acceptor(certificate: &Path, key: &Path) -> Result<TlsAcceptor> {
    let shown = certificate.display();
    let chain = chain(certificate)?;
    let key = PrivateKeyDer::from_pem_file(key)
        .with_context(|| format!("`serve_sql.key`: cannot read the private key {}", key.display()))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .with_context(|| format!("`serve_sql.certificate`: {shown} and the key do not go together"))?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// The certificate, and those that signed it.
fn chain(certificate: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let shown = certificate.display();
    let chain: Vec<CertificateDer<'_>> = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect)
        .with_context(|| format!("`serve_sql.certificate`: cannot read the certificate {shown}"))?;
    if chain.is_empty() {
        bail!("`serve_sql.certificate`: {shown} holds no certificate in PEM form");
    }
    Ok(chain)
}

/// The `tls-server-end-point` of RFC 5929: the certificate's digest, by the algorithm of its signature. Nothing for
/// signatures that it does not speak of.
pub fn end_point(certificate: &Path) -> Result<Option<Vec<u8>>> {
    Ok(chain(certificate)?.first().and_then(|certificate| end_point_of(certificate)))
}

/// The object identifiers of signatures, as DER has them, by their digest. What is digested by MD5 or SHA-1 is digested by SHA-256
/// here.
const SIGNATURES: [(&[u8], &digest::Algorithm); 8] = [
    (&[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x04], &SHA256),
    (&[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x05], &SHA256),
    (&[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x0B], &SHA256),
    (&[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x0C], &SHA384),
    (&[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x0D], &SHA512),
    (&[0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x04, 0x03, 0x02], &SHA256),
    (&[0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x04, 0x03, 0x03], &SHA384),
    (&[0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x04, 0x03, 0x04], &SHA512),
];

fn end_point_of(certificate: &[u8]) -> Option<Vec<u8>> {
    // A sequence of what is signed, the signature's algorithm (a sequence that begins with its identifier), and the
    // signature.
    let (whole, _) = element(certificate)?;
    let (_, after_signed) = element(whole)?;
    let (algorithm, _) = element(after_signed)?;
    let (identifier, _) = element(algorithm)?;
    let (_, digest) = SIGNATURES.iter().find(|(known, _)| *known == identifier)?;
    Some(digest::digest(digest, certificate).as_ref().to_vec())
}

/// The content of the first element, and what comes after it.
fn element(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&first, rest) = der.get(1..)?.split_first()?;
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let (bytes, rest) =
            rest.split_at_checked(usize::from(first & 0x7F)).filter(|(bytes, _)| bytes.len() <= 4)?;
        (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
    };
    rest.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_gives_its_digest() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/serve_sql/tls/server.crt");
        // `openssl x509 -outform der | sha256sum`; it is signed with ECDSA and SHA-256.
        let expected = "97209a47741cc336058ae9a1d701fe564008b0b77fa52c1bd1155f55627fba3f";
        let found = end_point(&file).unwrap().unwrap();
        let found: Vec<String> = found.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(found.concat(), expected);
        let whole = chain(&file).unwrap();
        assert_eq!(end_point_of(&whole[0][..100]), None, "a broken one");
        assert_eq!(end_point_of(b""), None);
    }
}
