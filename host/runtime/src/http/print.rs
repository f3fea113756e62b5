//! Standard output and error of components that wait: lines of the plugin's log.

use crate::plugin::Shared;
use crate::state::Line;
use bytes::Bytes;
use std::sync::Arc;
use wasmtime_wasi::async_trait;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamError};

/// What `check-write` allows at a time.
const WRITE_BYTES: usize = 4096;

/// Makes streams into a plugin's log.
pub(super) struct Printed(Arc<Shared>);

impl Printed {
    pub(super) fn new(plugin: &Arc<Shared>) -> Self {
        Self(plugin.clone())
    }
}

impl IsTerminal for Printed {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Printed {
    /// Only WASI 0.3 asks for it, which is not linked.
    fn async_stream(&self) -> Box<dyn tokio::io::AsyncWrite + Send + Sync> {
        Box::new(tokio::io::sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(Printing {
            plugin: self.0.clone(),
            line: Line::default(),
        })
    }
}

struct Printing {
    plugin: Arc<Shared>,
    line: Line,
}

#[async_trait]
impl Pollable for Printing {
    async fn ready(&mut self) {}
}

#[async_trait]
impl OutputStream for Printing {
    fn write(&mut self, bytes: Bytes) -> Result<(), StreamError> {
        self.line.print(&self.plugin, &bytes);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), StreamError> {
        Ok(())
    }

    fn check_write(&mut self) -> Result<usize, StreamError> {
        Ok(WRITE_BYTES)
    }
}
