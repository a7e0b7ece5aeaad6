//! A client's connection as a stream of messages.
//!
//! Owns the limit on a message's size, which the protocol leaves at 2 GiB, and noticing that a client is gone while the
//! server is busy and reads nothing.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use datafusion_postgres::pgwire::tokio::TlsAcceptor;
use datafusion_postgres::pgwire::tokio::server::{MaybeTls, PgWireMessageServerCodec, negotiate_tls};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio_util::codec::{Framed, FramedParts};

/// Before a login nobody has much to say.
const LOGIN_BYTES_MAX: usize = 64 * 1024;
const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;
const LOOK_AGAIN: Duration = Duration::from_millis(200);

pub type Socket = Framed<Bounded<MaybeTls>, PgWireMessageServerCodec<()>>;

/// Agrees on TLS or on none; nothing if the client went away meanwhile.
pub async fn open(stream: TcpStream, tls: Option<TlsAcceptor>) -> io::Result<Option<Socket>> {
    let Some(negotiated) = negotiate_tls::<()>(stream, tls).await? else { return Ok(None) };
    let old = negotiated.into_parts();
    if old.codec.client_info.is_secure && !old.read_buf.is_empty() {
        // Somebody on the way put it there, in the hope that it is taken for encrypted.
        return Err(io::Error::new(io::ErrorKind::InvalidData, "there was text before TLS began"));
    }
    let bounded = Bounded { inner: old.io, read_bytes: 0, read_bytes_max: LOGIN_BYTES_MAX };
    let mut parts = FramedParts::new(bounded, old.codec);
    parts.read_buf = old.read_buf;
    parts.write_buf = old.write_buf;
    Ok(Some(Framed::from_parts(parts)))
}

/// Reads no more than so much until it is told that a message is complete.
#[derive(Debug)]
pub struct Bounded<S> {
    inner: S,
    read_bytes: usize,
    read_bytes_max: usize,
}

impl<S> Bounded<S> {
    pub fn message_is_complete(&mut self) {
        self.read_bytes = 0;
    }

    pub fn client_is_known(&mut self) {
        self.read_bytes_max = MESSAGE_BYTES_MAX;
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Bounded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.read_bytes >= self.read_bytes_max {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "the message is too long")));
        }
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(context, buffer);
        self.read_bytes += buffer.filled().len() - before;
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Bounded<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

/// A second handle on a connection, which tells when the client has closed it.
#[derive(Debug)]
pub struct Watch(TcpStream);

impl Watch {
    /// The connection, and what watches it.
    pub fn over(stream: TcpStream) -> io::Result<(TcpStream, Self)> {
        let stream = stream.into_std()?;
        let second = stream.try_clone()?;
        Ok((TcpStream::from_std(stream)?, Self(TcpStream::from_std(second)?)))
    }

    /// Waits until the client is gone.
    pub async fn gone(&self) {
        loop {
            match self.0.ready(Interest::READABLE).await {
                Ok(ready) if !ready.is_read_closed() => {}
                _ => return,
            }
            // There is something to read, which is not for us.
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
}
