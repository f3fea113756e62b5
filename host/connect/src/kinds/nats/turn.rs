//! Which of several servers is connected to: one after the other, so that none that is away keeps this broker from another.
//!
//! Owns: [`Turn`], and how long a server has to let this broker in. Must not: connect; it is told how.

use super::Server;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// A server that takes longer to let this broker in is passed over: half of what a batch has if its file does not say.
const OPEN: Duration = Duration::from_secs(5);

/// Whose turn it is. Each way of a bridge has its own.
#[derive(Clone, Debug, Default)]
pub(super) struct Turn(Arc<AtomicUsize>);

impl Turn {
    /// The first server that `open` comes to, beginning behind the one that was tried last: also if that attempt was
    /// given up in its middle.
    ///
    /// # Errors
    /// None of them, each with its words.
    pub(super) async fn first<T>(
        &self,
        servers: &[Server],
        open: impl AsyncFn(&Server) -> Result<T, String>,
    ) -> Result<T, String> {
        self.first_within(OPEN, servers, open).await
    }

    async fn first_within<T>(
        &self,
        most: Duration,
        servers: &[Server],
        open: impl AsyncFn(&Server) -> Result<T, String>,
    ) -> Result<T, String> {
        let mut troubles = Vec::new();
        for _ in servers {
            let next = self.0.fetch_add(1, Ordering::Relaxed);
            let Some(server) = servers.iter().cycle().nth(next % servers.len()) else {
                break;
            };
            let late = || format!("the server did not let this broker in within {most:?}");
            let opened = tokio::time::timeout(most, open(server)).await;
            match opened.unwrap_or_else(|_| Err(late())) {
                Ok(opened) => return Ok(opened),
                Err(text) if servers.len() == 1 => return Err(text),
                Err(text) => troubles.push(format!("{}: {text}", server.place())),
            }
        }
        Err(troubles.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn servers(count: u16) -> Vec<Server> {
        let server = |port| Server {
            host: "h".to_owned(),
            port,
        };
        (1..=count).map(server).collect()
    }

    fn run<R>(future: impl Future<Output = R>) -> R {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        runtime.block_on(future)
    }

    /// Only these let it in.
    fn opens(open: &[u16]) -> impl AsyncFn(&Server) -> Result<u16, String> {
        async move |server: &Server| match open.contains(&server.port) {
            true => Ok(server.port),
            false => Err("is away".to_owned()),
        }
    }

    #[test]
    fn each_attempt_begins_behind_the_last_one_and_passes_over_who_is_away() {
        let (turn, servers) = (Turn::default(), servers(3));
        run(async {
            for wanted in [1, 2, 3, 1] {
                let found = turn.first(&servers, opens(&[1, 2, 3])).await;
                assert_eq!(found, Ok(wanted));
            }
            assert_eq!(turn.first(&servers, opens(&[1])).await, Ok(1));
            let none = turn.first(&servers, opens(&[])).await;
            let wanted = "h:2: is away; h:3: is away; h:1: is away";
            assert_eq!(none, Err(wanted.to_owned()));
            let alone = Turn::default().first(&servers[..1], opens(&[])).await;
            assert_eq!(alone, Err("is away".to_owned()), "there is no other one");
        });
    }

    #[test]
    fn a_server_that_says_nothing_is_passed_over_and_so_is_one_whose_attempt_was_given_up() {
        let (turn, servers) = (Turn::default(), servers(2));
        let silent = async |server: &Server| match server.port {
            1 => std::future::pending().await,
            port => Ok(port),
        };
        run(async {
            let soon = Duration::from_millis(1);
            let found = turn.first_within(soon, &servers, silent).await;
            assert_eq!(found, Ok(2));
            let longest = Duration::from_secs(3600);
            let given_up = turn.first_within(longest, &servers, silent);
            assert!(tokio::time::timeout(soon, given_up).await.is_err());
            let found = turn.first_within(longest, &servers, silent).await;
            assert_eq!(found, Ok(2), "the first one had its turn");
            let alone = turn.first_within(soon, &servers[..1], silent).await;
            let wanted = "the server did not let this broker in within 1ms";
            assert_eq!(alone, Err(wanted.to_owned()));
        });
    }
}
