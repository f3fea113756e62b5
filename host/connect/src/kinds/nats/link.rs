//! A connection to a NATS server: opened, secured, let in.
//!
//! Owns: [`Link`]. What ends it is said in the server's words where it has some. Nothing is made anew here.

use super::wire::{Info, Op, read};
use super::{Bridge, Server};
use crate::kinds::tls::{Wire, dial, secure, trust};
use bytes::BytesMut;
use serde_json::{Value, json};
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};

pub(super) struct Link {
    wire: Box<dyn Wire>,
    buffer: BytesMut,
    pub(super) info: Info,
    /// Whose it is.
    pub(super) place: String,
}

fn broken(error: io::Error) -> String {
    format!("the connection ended: {error}")
}

/// The next thing that is said. Given up, it loses nothing.
async fn next(wire: &mut (impl AsyncRead + Unpin), buffer: &mut BytesMut) -> Result<Op, String> {
    loop {
        if let Some(op) = read(buffer)? {
            return Ok(op);
        }
        if wire.read_buf(buffer).await.map_err(broken)? == 0 {
            return Err("the server ended the connection".to_owned());
        }
    }
}

impl Link {
    /// `way`: the name of this connection at the server ends so.
    ///
    /// # Errors
    /// Nobody is there, is trusted, or lets this broker in, in words.
    pub(super) async fn open(bridge: &Bridge, way: &str) -> Result<Self, String> {
        let servers = &bridge.settings.servers;
        let open = async |server: &Server| Self::open_at(server, bridge, way).await;
        bridge.turn.first(servers, open).await
    }

    async fn open_at(server: &Server, bridge: &Bridge, way: &str) -> Result<Self, String> {
        let Server { host, port } = server;
        let settings = &bridge.settings;
        let secrets = &bridge.means.secrets;
        let trusted = match settings.is_tls {
            true => {
                let ca = settings.ca.as_ref().map(|ca| ca.reveal(secrets));
                Some(trust(ca.transpose()?.as_deref())?)
            }
            false => None,
        };
        let mut wire = dial(host, *port, None).await?;
        let mut buffer = BytesMut::new();
        let info = match next(&mut wire, &mut buffer).await? {
            Op::Info(info) => *info,
            Op::Wrong(text) => return Err(format!("the server said: {text}")),
            _ => return Err("the server does not say what it is".to_owned()),
        };
        if let Some(trusted) = trusted {
            if !buffer.is_empty() {
                return Err("the server says too much before it is trusted".to_owned());
            }
            wire = secure(host, *port, trusted, wire).await?;
        } else if info.wants_tls {
            return Err("the server wants TLS: `url` begins with tls:// then".to_owned());
        }
        if !info.takes_headers {
            let text = format!(
                "the server ({}) takes no headers: 2.2 or later is needed",
                info.version
            );
            return Err(text);
        }
        let mut said = json!({
            "verbose": false, "pedantic": false, "tls_required": settings.is_tls, "lang": "rust",
            "version": env!("CARGO_PKG_VERSION"), "protocol": 1, "headers": true, "no_responders": true,
            "echo": false, "name": format!("witmq-{}-{way}", bridge.name),
        });
        if let Value::Object(fields) = &mut said {
            fields.extend(settings.access.fields(secrets, info.nonce.as_deref())?);
        }
        let place = server.place();
        let mut link = Self {
            wire,
            buffer,
            info,
            place,
        };
        let hello = format!("CONNECT {said}\r\nPING\r\n");
        link.exchange(hello.as_bytes(), |op| match op {
            Op::Pong => Ok(true),
            Op::Wrong(text) => Err(format!("the server said: {text}")),
            _ => Ok(false),
        })
        .await?;
        Ok(link)
    }

    /// The next thing that is said. Given up, it loses nothing.
    ///
    /// # Errors
    /// The connection ended, in words.
    pub(super) async fn next(&mut self) -> Result<Op, String> {
        next(&mut self.wire, &mut self.buffer).await
    }

    /// # Errors
    /// The connection ended, in words.
    pub(super) async fn write(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.wire.write_all(bytes).await.map_err(broken)?;
        self.wire.flush().await.map_err(broken)
    }

    /// Writes, and reads meanwhile: until `hear` says that it is enough. A server that is not read from reads nothing.
    ///
    /// # Errors
    /// Those of `hear`, and the connection ended.
    pub(super) async fn exchange(
        &mut self,
        bytes: &[u8],
        mut hear: impl FnMut(Op) -> Result<bool, String>,
    ) -> Result<(), String> {
        let buffer = &mut self.buffer;
        let (mut reader, mut writer) = tokio::io::split(&mut self.wire);
        let write = async {
            writer.write_all(bytes).await.map_err(broken)?;
            writer.flush().await.map_err(broken)
        };
        let mut asked = 0;
        let listen = async {
            loop {
                match next(&mut reader, buffer).await? {
                    Op::Ping => asked += 1,
                    op => {
                        if hear(op)? {
                            return Ok(());
                        }
                    }
                }
            }
        };
        tokio::try_join!(write, listen)?;
        for _ in 0..asked {
            self.write(b"PONG\r\n").await?;
        }
        Ok(())
    }
}
