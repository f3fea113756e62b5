//! Who notes every will, and when it came.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use witmq_e2e::PATIENCE;
use witmq_e2e::load::wait_until;
use witmq_e2e::raw::{Incoming, Raw};

const TICK: Duration = Duration::from_millis(5);

#[derive(Default)]
struct Seen {
    is_over: AtomicBool,
    /// By payload: the moments it came.
    wills: Mutex<BTreeMap<String, Vec<Instant>>>,
}

/// A persistent QoS 2 subscriber of all wills: each comes as often as it was published.
pub(crate) struct Witness {
    seen: Arc<Seen>,
    thread: JoinHandle<()>,
}

impl Witness {
    pub(crate) fn start(broker: SocketAddr) -> Self {
        let (mut raw, _) = Raw::connect(broker, "witness", false, None).unwrap();
        raw.subscribe("will/#", 2, 1).unwrap();
        assert_eq!(raw.next(PATIENCE).unwrap(), Some(Incoming::Suback(1)));
        let seen = Arc::new(Seen::default());
        let for_thread = seen.clone();
        let thread = std::thread::spawn(move || {
            let mut open = BTreeSet::new();
            let mut connected = Some(raw);
            while !for_thread.is_over.load(Ordering::Relaxed) {
                if let Some(mut raw) = connected.take() {
                    drop(serve(&mut raw, &for_thread, &mut open));
                }
                connected = Raw::connect(broker, "witness", false, None)
                    .ok()
                    .map(|(raw, _)| raw);
                std::thread::yield_now();
            }
        });
        Self { seen, thread }
    }

    /// Waits until this will came; when that was.
    pub(crate) fn wait_for(&self, will: &str) -> Instant {
        let mut came = None;
        wait_until(&format!("will {will}"), || {
            let wills = self.seen.wills.lock().unwrap();
            came = wills.get(will).and_then(|times| times.first().copied());
            came.is_some()
        });
        came.unwrap()
    }

    /// How many wills there were; each came once [MQTT-3.1.2-8] [MQTT-3.1.2-10].
    pub(crate) fn finish(self) -> usize {
        self.seen.is_over.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
        let wills = self.seen.wills.lock().unwrap();
        for (will, times) in &*wills {
            assert_eq!(times.len(), 1, "will {will} was published more than once");
        }
        wills.len()
    }
}

fn serve(raw: &mut Raw, seen: &Seen, open: &mut BTreeSet<u16>) -> std::io::Result<()> {
    while !seen.is_over.load(Ordering::Relaxed) {
        match raw.next(TICK)? {
            Some(Incoming::Publish { id, payload, .. }) => {
                if open.insert(id) {
                    let will = String::from_utf8(payload).unwrap();
                    let mut wills = seen.wills.lock().unwrap();
                    wills.entry(will).or_default().push(Instant::now());
                }
                raw.acknowledge(0x50, id)?;
            }
            Some(Incoming::Pubrel(id)) => {
                open.remove(&id);
                raw.acknowledge(0x70, id)?;
            }
            _ => {}
        }
    }
    Ok(())
}
