//! Log records of the core, kept for the next drain of any node: no tokio thread takes the interpreter's lock.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

use log::{Level, LevelFilter, Log, Metadata, Record};
use pyo3::prelude::*;

use crate::queue::Queue;

/// Records that wait for Python; further ones are dropped and counted.
const MAX_RECORDS: usize = 1024;
/// Longest message in bytes.
const MAX_MESSAGE: usize = 2048;

/// (Python's numeric level, target, message)
pub(crate) type LogTuple = (u8, String, String);

static BRIDGE: Bridge =
    Bridge { records: Mutex::new(VecDeque::new()), dropped: AtomicU64::new(0), readers: Mutex::new(Vec::new()) };

struct Bridge {
    records: Mutex<VecDeque<LogTuple>>,
    dropped: AtomicU64,
    readers: Mutex<Vec<Weak<Queue>>>,
}

impl Log for Bridge {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let mut message = record.args().to_string();
        if message.len() > MAX_MESSAGE {
            let end = (0..=MAX_MESSAGE).rev().find(|&at| message.is_char_boundary(at)).unwrap_or(0);
            message.truncate(end);
        }
        {
            let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
            if records.len() >= MAX_RECORDS {
                self.dropped.fetch_add(1, Ordering::Relaxed);
                return;
            }
            records.push_back((python_level(record.level()), record.target().to_owned(), message));
        }
        // Bound first: nobody is woken under a lock.
        let reader = self.readers.lock().unwrap_or_else(PoisonError::into_inner).iter().find_map(Weak::upgrade);
        if let Some(queue) = reader {
            queue.ring();
        }
    }

    fn flush(&self) {}
}

/// Levels of Python's logging module; it has none below DEBUG with a name, so trace is 5 as is usual.
fn python_level(level: Level) -> u8 {
    match level {
        Level::Error => 40,
        Level::Warn => 30,
        Level::Info => 20,
        Level::Debug => 10,
        Level::Trace => 5,
    }
}

/// Let `queue` carry log records from now on.
pub(crate) fn attach(queue: &Arc<Queue>) {
    let mut readers = BRIDGE.readers.lock().unwrap_or_else(PoisonError::into_inner);
    readers.retain(|reader| reader.strong_count() > 0);
    readers.push(Arc::downgrade(queue));
}

/// Have `queue`, which nobody drains any more, carry no more records; another node's does.
pub(crate) fn detach(queue: &Queue) {
    let mut readers = BRIDGE.readers.lock().unwrap_or_else(PoisonError::into_inner);
    readers.retain(|reader| !std::ptr::eq(reader.as_ptr(), queue));
}

/// The records since the last call, None if there are none.
pub(crate) fn take() -> Option<Vec<LogTuple>> {
    let mut records = BRIDGE.records.lock().unwrap_or_else(PoisonError::into_inner);
    let dropped = BRIDGE.dropped.swap(0, Ordering::Relaxed);
    if dropped > 0 {
        records.push_back((30, "aicn_p2p".into(), format!("{dropped} log records of the core were dropped")));
    }
    (!records.is_empty()).then(|| records.drain(..).collect())
}

/// Keep records of `level` and above: any number that Python's logging takes, 0 being all of them.
#[pyfunction]
fn set_log_level(level: i64) {
    log::set_max_level(match level {
        ..=5 => LevelFilter::Trace,
        6..=10 => LevelFilter::Debug,
        11..=20 => LevelFilter::Info,
        21..=30 => LevelFilter::Warn,
        31..=40 => LevelFilter::Error,
        _ => LevelFilter::Off,
    });
}

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    // Fails only if another logger was set before, which only this module could have done.
    let _ = log::set_logger(&BRIDGE);
    log::set_max_level(LevelFilter::Warn);
    module.add_function(wrap_pyfunction!(set_log_level, module)?)
}
