//! Where the broker is, and bytes to and from it over TCP, TLS, WebSocket or both.

use anyhow::{Context as _, Result};
use rustls_pki_types::pem::PemObject as _;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{self, Message as Frame, WebSocket};

/// How the bytes go.
#[derive(Clone, Debug)]
pub enum Transport {
    /// Plain.
    Tcp,
    /// TLS; the certificate authority to trust.
    Tls(PathBuf),
    /// WebSocket; the path.
    Ws(String),
    /// WebSocket in TLS; the path, and the certificate authority to trust.
    Wss(String, PathBuf),
}

/// A broker.
#[derive(Clone, Debug)]
pub struct Target {
    /// Where.
    pub address: SocketAddr,
    /// How.
    pub transport: Transport,
    /// Longer than any answer takes.
    pub patience: Duration,
    /// User name and password for every connection that does not test them.
    pub login: Option<(String, String)>,
    /// Name and password of a user who may log in with SCRAM-SHA-256.
    pub scram: Option<(String, String)>,
}

impl Target {
    /// tcp, tls, ws or wss.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self.transport {
            Transport::Tcp => "tcp",
            Transport::Tls(_) => "tls",
            Transport::Ws(_) => "ws",
            Transport::Wss(..) => "wss",
        }
    }

    fn socket(&self) -> Result<TcpStream> {
        let socket = TcpStream::connect_timeout(&self.address, self.patience)
            .with_context(|| format!("no connection to {}", self.address))?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(self.patience))?;
        socket.set_write_timeout(Some(self.patience))?;
        Ok(socket)
    }

    /// Opens a connection; nothing of MQTT is sent.
    ///
    /// # Errors
    /// Nobody there, or the handshake fails.
    pub fn open(&self) -> Result<Stream> {
        let socket = self.socket()?;
        let handle = socket.try_clone()?;
        let carrier = match &self.transport {
            Transport::Tcp => Carrier::Tcp(socket),
            Transport::Tls(ca) => Carrier::Tls(Box::new(secure(socket, ca)?)),
            Transport::Ws(path) => self.upgrade(Box::new(socket), path)?,
            Transport::Wss(path, ca) => self.upgrade(Box::new(secure(socket, ca)?), path)?,
        };
        Ok(Stream { handle, carrier })
    }

    fn upgrade(&self, socket: Box<dyn Duplex>, path: &str) -> Result<Carrier> {
        let (socket, echoed) = self.offer(socket, path, "mqtt")?;
        anyhow::ensure!(
            echoed == "mqtt",
            "the subprotocol is not echoed [MQTT-6.0.0-4]"
        );
        Ok(Carrier::Ws(Box::new(socket), Vec::new()))
    }

    /// The handshake with these subprotocols; the one the broker takes.
    fn offer(
        &self,
        socket: Box<dyn Duplex>,
        path: &str,
        subprotocols: &str,
    ) -> Result<(WebSocket<Box<dyn Duplex>>, String)> {
        let mut request = format!("ws://{}{path}", self.address).into_client_request()?;
        request
            .headers_mut()
            .insert("Sec-WebSocket-Protocol", subprotocols.parse()?);
        let (socket, response) = tungstenite::client(request, socket)
            .map_err(|error| anyhow::anyhow!("no WebSocket: {error}"))?;
        let echoed = response.headers().get("Sec-WebSocket-Protocol");
        let echoed = echoed.map(|name| String::from_utf8_lossy(name.as_bytes()).into_owned());
        Ok((socket, echoed.unwrap_or_default()))
    }

    /// What a WebSocket target answers to these subprotocols; `None` if this is none.
    ///
    /// # Errors
    /// Nobody there, or the handshake fails.
    pub fn subprotocol(&self, offered: &str) -> Result<Option<String>> {
        let socket = self.socket()?;
        let (path, socket): (_, Box<dyn Duplex>) = match &self.transport {
            Transport::Ws(path) => (path, Box::new(socket)),
            Transport::Wss(path, ca) => (path, Box::new(secure(socket, ca)?)),
            Transport::Tcp | Transport::Tls(_) => return Ok(None),
        };
        self.offer(socket, path, offered)
            .map(|(_, echoed)| Some(echoed))
    }
}

/// Bytes both ways, with or without TLS.
trait Duplex: Read + Write + Send {}

impl<T: Read + Write + Send> Duplex for T {}

type Tls = rustls::StreamOwned<rustls::ClientConnection, TcpStream>;

fn secure(socket: TcpStream, ca: &Path) -> Result<Tls> {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in rustls_pki_types::CertificateDer::pem_file_iter(ca)? {
        roots.add(certificate?)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let tls = rustls::ClientConnection::new(Arc::new(config), "localhost".try_into()?)?;
    Ok(rustls::StreamOwned::new(tls, socket))
}

enum Carrier {
    Tcp(TcpStream),
    Tls(Box<Tls>),
    /// And what is left of a frame.
    Ws(Box<WebSocket<Box<dyn Duplex>>>, Vec<u8>),
}

/// An open connection.
pub struct Stream {
    handle: TcpStream,
    carrier: Carrier,
}

impl Stream {
    /// Reads what is there, or waits; `Ok(None)` after so long without any.
    ///
    /// # Errors
    /// The connection is over.
    pub fn read(&mut self, patience: Duration) -> io::Result<Option<Vec<u8>>> {
        self.handle.set_read_timeout(Some(patience))?;
        let mut part = vec![0; 65_536];
        let read = match &mut self.carrier {
            Carrier::Tcp(socket) => socket.read(&mut part),
            Carrier::Tls(socket) => socket.read(&mut part),
            Carrier::Ws(socket, rest) => read_frame(socket, rest, &mut part),
        };
        match read {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                part.truncate(count);
                Ok(Some(part))
            }
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                ) =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Writes everything.
    ///
    /// # Errors
    /// The connection is over.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.carrier {
            Carrier::Tcp(socket) => socket.write_all(bytes),
            Carrier::Tls(socket) => socket.write_all(bytes).and_then(|()| socket.flush()),
            Carrier::Ws(socket, _) => socket
                .send(Frame::Binary(bytes.to_vec().into()))
                .map_err(io::Error::other),
        }
    }

    /// Sends a text frame; false if this is no WebSocket.
    pub fn write_text_frame(&mut self, text: &str) -> bool {
        match &mut self.carrier {
            Carrier::Ws(socket, _) => socket.send(Frame::Text(text.into())).is_ok(),
            _ => false,
        }
    }

    /// Breaks the connection without a word.
    pub fn cut(&self) {
        let _is_gone = self.handle.shutdown(std::net::Shutdown::Both).is_err();
    }
}

fn read_frame(
    socket: &mut WebSocket<Box<dyn Duplex>>,
    rest: &mut Vec<u8>,
    part: &mut [u8],
) -> io::Result<usize> {
    while rest.is_empty() {
        match socket.read() {
            Ok(Frame::Binary(bytes)) => *rest = bytes.to_vec(),
            Ok(Frame::Ping(_) | Frame::Pong(_)) => {}
            Ok(_) => return Ok(0),
            Err(tungstenite::Error::Io(error)) => return Err(error),
            Err(_) => return Ok(0),
        }
    }
    let count = rest.len().min(part.len());
    part[..count].copy_from_slice(&rest[..count]);
    rest.drain(..count);
    Ok(count)
}
