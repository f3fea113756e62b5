//! A disk that fails when told to. Preloaded into the broker (`LD_PRELOAD`), it takes the place of the C library's
//! calls for files below one folder; a test says through a shared page which call fails, and how.
//!
//! Owns: the calls of `calls.rs` and the page. Must not: allocate, lock, or call anything that is intercepted.
//! Test only; ADR 0007 argues its `unsafe`.
//!
//! | word | of the page (64 bits, native) |
//! |---|---|
//! | 0 | 1: armed |
//! | 1 | kinds of call, one bit each (`Call`) |
//! | 2 | what happens: 1 fails with `errno`, 2 only `bytes` are done, 3 the same and the process is killed |
//! | 3 | errno |
//! | 4 | the first call that fails, counted from 1 since word 7 was 0 |
//! | 5 | so many fail |
//! | 6 | bytes; negative: so many fewer than asked for |
//! | 7 | calls seen |
//! | 8 | calls that failed |
#![allow(unsafe_code, reason = "it stands in for the C library: ADR 0007")]

mod calls;

use libc::{c_char, c_int, c_long};
use std::ffi::CStr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, Ordering};

const WORDS: usize = 9;
const PAGE_BYTES: usize = 4096;

/// Kinds of call.
#[derive(Clone, Copy)]
enum Call {
    Write = 1,
    Sync = 2,
    Read = 4,
    /// For writing.
    Open = 8,
    Rename = 16,
    Truncate = 32,
    Unlink = 64,
}

/// What becomes of a call.
enum Fate {
    /// As always.
    Done,
    /// It fails.
    Fails(c_int),
    /// Only so many bytes are done.
    Short(usize),
    /// So many bytes are done, then the process is gone.
    Torn(usize),
}

struct Faults {
    folder: &'static [u8],
    words: &'static [AtomicI64; WORDS],
}

/// The page and the folder; `None` in a process that was not told.
fn faults() -> Option<&'static Faults> {
    static FAULTS: OnceLock<Option<Faults>> = OnceLock::new();
    FAULTS.get_or_init(open).as_ref()
}

fn open() -> Option<Faults> {
    let variable = |name: &CStr| {
        // SAFETY: the name ends with 0; nobody changes the environment while the process starts.
        let value = unsafe { libc::getenv(name.as_ptr()) };
        // SAFETY: what getenv returns is a string that lives as long as the environment.
        (!value.is_null()).then(|| unsafe { CStr::from_ptr(value) })
    };
    let folder = variable(c"FAULTS_DIR")?.to_bytes();
    let page = variable(c"FAULTS_PAGE")?;
    // SAFETY: a system call with a string that ends with 0.
    let file = unsafe {
        libc::syscall(
            libc::SYS_openat,
            libc::AT_FDCWD,
            page.as_ptr(),
            libc::O_RDWR | libc::O_CLOEXEC,
            0,
        )
    };
    let file = c_int::try_from(file).ok().filter(|file| *file >= 0)?;
    // SAFETY: a new mapping of a file that the test made as long as a page.
    let page = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            PAGE_BYTES,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED,
            file,
            0,
        )
    };
    if page == libc::MAP_FAILED {
        return None;
    }
    // SAFETY: the mapping is never undone, aligned to a page, longer than the words, and only changed by atomics
    // here and by whole words from the test.
    let words = unsafe { &*page.cast::<[AtomicI64; WORDS]>() };
    Some(Faults { folder, words })
}

impl Faults {
    fn word(&self, at: usize) -> i64 {
        let word = self.words.get(at);
        word.map_or(0, |word| word.load(Ordering::SeqCst))
    }

    fn add(&self, at: usize) -> i64 {
        let word = self.words.get(at);
        word.map_or(0, |word| word.fetch_add(1, Ordering::SeqCst) + 1)
    }

    fn covers(&self, path: &[u8]) -> bool {
        path.starts_with(self.folder)
    }

    fn fate(&self, asked: usize) -> Fate {
        let seen = self.add(7);
        let first = self.word(4);
        if seen < first || seen - first >= self.word(5) {
            return Fate::Done;
        }
        self.add(8);
        let bytes = self.word(6);
        let bytes = match usize::try_from(bytes) {
            Ok(bytes) => bytes.min(asked),
            Err(_) => asked.saturating_sub(usize::try_from(bytes.unsigned_abs()).unwrap_or(asked)),
        };
        match self.word(2) {
            1 => Fate::Fails(c_int::try_from(self.word(3)).unwrap_or(libc::EIO)),
            2 => Fate::Short(bytes),
            3 => Fate::Torn(bytes),
            _ => Fate::Done,
        }
    }
}

fn armed(call: Call) -> Option<&'static Faults> {
    let faults = faults()?;
    let is_meant = faults.word(0) == 1 && faults.word(1) & (call as i64) != 0;
    is_meant.then_some(faults)
}

/// What becomes of a call on a descriptor.
fn fate_of_file(call: Call, file: c_int, asked: usize) -> Fate {
    let Some(faults) = armed(call) else {
        return Fate::Done;
    };
    let mut name = [0u8; 64];
    let mut path = [0u8; 1024];
    let Some(name) = descriptor(&mut name, file) else {
        return Fate::Done;
    };
    // SAFETY: the name ends with 0, the buffer is as long as said.
    let length = unsafe { libc::readlink(name, path.as_mut_ptr().cast(), path.len()) };
    match usize::try_from(length)
        .ok()
        .and_then(|length| path.get(..length))
    {
        Some(path) if faults.covers(path) => faults.fate(asked),
        _ => Fate::Done,
    }
}

/// `/proc/self/fd/N`, without an allocation.
fn descriptor(buffer: &mut [u8; 64], file: c_int) -> Option<*const c_char> {
    use std::io::Write as _;
    let mut rest = &mut buffer[..];
    write!(rest, "/proc/self/fd/{file}\0").ok()?;
    Some(buffer.as_ptr().cast())
}

/// What becomes of a call on a path.
///
/// # Safety
/// `path` is null or ends with 0.
unsafe fn fate_of_path(call: Call, path: *const c_char) -> Fate {
    let Some(faults) = armed(call) else {
        return Fate::Done;
    };
    if path.is_null() {
        return Fate::Done;
    }
    // SAFETY: as the caller promises.
    let path = unsafe { CStr::from_ptr(path) };
    match faults.covers(path.to_bytes()) {
        true => faults.fate(0),
        false => Fate::Done,
    }
}

/// Fails a call as the C library does.
fn fail(errno: c_int) -> c_long {
    // SAFETY: the thread's own errno.
    unsafe { *libc::__errno_location() = errno };
    -1
}

/// Gone, as by a loss of power.
fn die() -> c_long {
    // SAFETY: no memory is touched.
    unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
    loop {
        std::hint::spin_loop(); // until the signal is there
    }
}
