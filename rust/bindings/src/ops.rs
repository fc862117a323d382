//! Operations under way: started by Python under an id, ended by a completion or by `cancel`.

use std::{
    any::Any,
    collections::HashMap,
    future::Future,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use aicn_p2p::Error;
use futures::FutureExt;
use tokio::{runtime, task::AbortHandle};

use crate::queue::{Payload, Queue};

/// Threads of the core. One keeps up with what a Python process can ask of it, and leaves the others to models.
const WORKER_THREADS: usize = 1;

/// The runtime of the process, made when it is first needed.
pub(crate) fn runtime() -> &'static runtime::Runtime {
    static RUNTIME: OnceLock<runtime::Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        runtime::Builder::new_multi_thread()
            .worker_threads(WORKER_THREADS)
            .thread_name("aicn-core")
            .enable_all()
            .build()
            // The system has no threads or descriptors left: nothing in the process can work then.
            .expect("the tokio runtime starts")
    })
}

/// The operations of one node.
pub(crate) struct Ops {
    queue: Arc<Queue>,
    running: Mutex<HashMap<u64, AbortHandle>>,
}

impl Ops {
    pub(crate) fn new(queue: Arc<Queue>) -> Self {
        Self { queue, running: Mutex::new(HashMap::new()) }
    }

    /// Run `work`; its result, or its panic, completes `op`.
    pub(crate) fn start(self: &Arc<Self>, op: u64, work: impl Future<Output = Payload> + Send + 'static) {
        let ops = self.clone();
        let task = async move {
            let payload = AssertUnwindSafe(work)
                .catch_unwind()
                .await
                .unwrap_or_else(|panic| Payload::Failed(Error::Panicked(describe(&*panic))));
            ops.lock().remove(&op);
            ops.queue.push(op, payload);
        };
        // Held until the handle is in: a task that ends at once waits here and finds it.
        let mut running = self.lock();
        running.insert(op, runtime().spawn(task).abort_handle());
    }

    /// Complete `op` without running anything.
    pub(crate) fn complete(&self, op: u64, payload: Payload) {
        self.queue.push(op, payload);
    }

    /// Drop an operation; what it had begun is undone. Nothing if it has ended.
    pub(crate) fn cancel(&self, op: u64) {
        if let Some(task) = self.lock().remove(&op) {
            task.abort();
        }
    }

    /// How many are under way.
    pub(crate) fn count(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, AbortHandle>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn describe(panic: &(dyn Any + Send)) -> String {
    let what = panic
        .downcast_ref::<&str>()
        .map(ToString::to_string)
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".into());
    format!("the network core panicked ({what}): report this bug")
}
