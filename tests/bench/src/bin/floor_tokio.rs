//! `floor-tokio PORT THREADS`: the same forwarder as a plain tokio server would be written: a reader and a writer task
//! for each connection. Shows what the runtime itself costs. 0 threads: the runtime of one thread.
//!
//! Owns: its sockets. Must not: be reachable from beyond loopback.

use anyhow::{Context as _, Result};
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Notify;
use witmq_bench::floor::{Hello, REGISTERED, sort};
use witmq_bench::io::raise_open_files;

/// Bytes of a connection's read buffer; it grows for a larger packet.
const READ_BYTES: usize = 1 << 16;

/// What waits for a connection's writer.
#[derive(Default)]
struct Out {
    waiting: Mutex<Vec<u8>>,
    wake: Notify,
    is_closed: AtomicBool,
}

impl Out {
    fn push(&self, bytes: &[u8]) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let was_empty = waiting.is_empty();
        waiting.extend_from_slice(bytes);
        drop(waiting);
        if was_empty {
            self.wake.notify_one();
        }
    }

    /// Takes what waits in exchange for an empty buffer.
    fn swap(&self, buffer: &mut Vec<u8>) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::swap(&mut *waiting, buffer);
    }

    fn close(&self) {
        self.is_closed.store(true, Ordering::Relaxed);
        self.wake.notify_one();
    }
}

type Group = RwLock<Vec<Arc<Out>>>;
type Groups = RwLock<Vec<Arc<Group>>>;

fn main() -> Result<()> {
    let mut words = std::env::args().skip(1).map(|word| word.parse().ok());
    let (Some(Some(port)), Some(Some(threads))) = (words.next(), words.next()) else {
        anyhow::bail!("usage: floor-tokio PORT THREADS");
    };
    raise_open_files()?;
    runtime(threads)?.block_on(async move {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
            .await
            .with_context(|| format!("cannot listen at port {port}"))?;
        let groups = Arc::new(Groups::default());
        loop {
            let (socket, _) = listener.accept().await?;
            tokio::spawn(serve(socket, groups.clone()));
        }
    })
}

fn runtime(threads: u16) -> Result<Runtime> {
    let runtime = match threads {
        0 => Builder::new_current_thread().enable_io().build(),
        threads => Builder::new_multi_thread()
            .worker_threads(usize::from(threads))
            .enable_io()
            .build(),
    };
    runtime.context("cannot start the runtime")
}

/// Serves a connection to its end, which is nobody's failure.
async fn serve(socket: TcpStream, groups: Arc<Groups>) {
    socket.set_nodelay(true).ok();
    let (mut reader, writer) = socket.into_split();
    let mut hello = [0; Hello::BYTES];
    if reader.read_exact(&mut hello).await.is_err() {
        return;
    }
    let hello = Hello::read(hello);
    let Some(group) = find(&groups, hello.group) else {
        return;
    };
    let out = Arc::new(Out::default());
    out.push(&[REGISTERED]);
    tokio::spawn(write(writer, out.clone()));
    if hello.is_subscriber {
        group
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .push(out.clone());
    }
    read(reader, &group, &out).await;
    out.close();
    group
        .write()
        .unwrap_or_else(PoisonError::into_inner)
        .retain(|member| !Arc::ptr_eq(member, &out));
}

fn find(groups: &Groups, number: usize) -> Option<Arc<Group>> {
    let mut groups = groups.write().unwrap_or_else(PoisonError::into_inner);
    let count = groups.len().max(number + 1);
    groups.resize_with(count, Arc::default);
    groups.get(number).cloned()
}

async fn read(mut reader: OwnedReadHalf, group: &Group, out: &Out) {
    let (mut buffer, mut answers) = (Vec::with_capacity(READ_BYTES), Vec::new());
    loop {
        buffer.reserve(READ_BYTES / 2);
        if reader.read_buf(&mut buffer).await.unwrap_or(0) == 0 {
            return;
        }
        answers.clear();
        let done = {
            let members = group.read().unwrap_or_else(PoisonError::into_inner);
            let forward = |run: &[u8]| members.iter().for_each(|member| member.push(run));
            sort(&buffer, &mut answers, forward)
        };
        let Ok(done) = done else {
            return;
        };
        if !answers.is_empty() {
            out.push(&answers);
        }
        buffer.drain(..done);
    }
}

async fn write(mut writer: OwnedWriteHalf, out: Arc<Out>) {
    let mut buffer = Vec::new();
    loop {
        out.wake.notified().await;
        loop {
            buffer.clear();
            out.swap(&mut buffer);
            if buffer.is_empty() {
                break;
            }
            if writer.write_all(&buffer).await.is_err() {
                return;
            }
        }
        if out.is_closed.load(Ordering::Relaxed) {
            return;
        }
    }
}
