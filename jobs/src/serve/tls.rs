//! TLS for the server: reading the certificate and its key.
//!
//! Whatever is wrong with them stops the start: a server that was meant to encrypt never runs without.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use datafusion_postgres::pgwire::tokio::TlsAcceptor;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// The protocol's name, by which clients that begin with TLS at once ask for it.
const ALPN: &[u8] = b"postgresql";

/// Reads a certificate (with those that signed it, if there are any) and its key, both PEM.
pub fn acceptor(certificate: &Path, key: &Path) -> Result<TlsAcceptor> {
    let shown = certificate.display();
    let chain: Vec<CertificateDer<'_>> = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect)
        .with_context(|| format!("`serve_sql.certificate`: cannot read the certificate {shown}"))?;
    if chain.is_empty() {
        bail!("`serve_sql.certificate`: {shown} holds no certificate in PEM form");
    }
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
