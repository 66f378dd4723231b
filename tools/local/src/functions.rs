//! `local functions`: runs the built functions as Lambda runs execution environments, a fixed number of processes each.
//!
//! Each process takes one request at a time from the emulator. A process that ends is replaced. Nothing is built or watched.

use std::fs::OpenOptions;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::process::Command;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout_at};

use crate::Error;
use crate::process::{Leash, root};
use crate::runtime_api::{Activity, RuntimeApi};

/// The pause before a process that had started properly is replaced.
const PAUSE: Duration = Duration::from_millis(200);

/// The longest pause before a process is replaced that ends before it asks for an event.
const MAX_PAUSE: Duration = Duration::from_secs(10);

/// How long [`Functions::ready`] waits: enough for all processes to start on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(120);

/// The emulator's name for the function of a request that no route matches.
const DEFAULT_FUNCTION: &str = "_";

/// Processes of a function.
#[derive(Debug, Clone)]
pub struct Function {
    /// The emulator's name of the function.
    pub name: String,
    /// The binary, in `target/debug`.
    pub binary: String,
    /// The number of processes.
    pub processes: usize,
}

impl Function {
    /// A number of processes of a function that is named as its binary.
    pub fn new(binary: &str, processes: usize) -> Self {
        Self { name: binary.to_owned(), binary: binary.to_owned(), processes }
    }

    /// The function that answers what no route matches.
    pub fn default_route(binary: &str, processes: usize) -> Self {
        Self { name: DEFAULT_FUNCTION.to_owned(), ..Self::new(binary, processes) }
    }
}

/// Running functions. They end when this value is dropped, and when this process ends, however it does.
pub struct Functions {
    pool: Arc<Pool>,
    /// One task for each process.
    supervisors: Vec<JoinHandle<()>>,
    // Dropped after the supervisors have been stopped: kills what is left.
    _leash: Leash,
}

struct Pool {
    slots: Vec<Slot>,
    variables: Vec<(String, String)>,
    output: Output,
    group: i32,
    runtime_api: RuntimeApi,
}

/// The place of one process.
struct Slot {
    name: String,
    binary: String,
    /// The id of the process, 0 while there is none.
    process: AtomicU32,
    /// Told when the process is to be killed and not replaced.
    kill: Notify,
}

/// What becomes of the logs of functions, and of the reports about their processes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// They go to the output of this process.
    Show,
    /// They are lost.
    Discard,
    /// The logs are appended to a file, and the reports are lost.
    File(PathBuf),
}

impl Functions {
    /// Starts the processes of functions for the emulator at `gateway`, with variables over those of this process.
    ///
    /// # Errors
    /// When there is no port or process group for them. A binary that cannot be started is reported on standard error and tried again.
    pub async fn start(
        gateway: &str,
        functions: &[Function],
        variables: Vec<(String, String)>,
        output: Output,
    ) -> Result<Self, Error> {
        let each = || functions.iter().flat_map(|function| std::iter::repeat_n(function, function.processes));
        let names: Vec<_> = each().map(|function| function.name.clone()).collect();
        let runtime_api = RuntimeApi::start(gateway, &names).await?;
        let slots = each().map(|function| Slot {
            name: function.name.clone(),
            binary: function.binary.clone(),
            process: AtomicU32::new(0),
            kill: Notify::new(),
        });
        // They have nothing to finish: what matters is in PocketBase.
        let leash = Leash::new(Duration::from_secs(1))?;
        let pool = Pool { slots: slots.collect(), variables, output, group: leash.group()?, runtime_api };
        let pool = Arc::new(pool);
        let supervise = |index| {
            let pool = pool.clone();
            tokio::spawn(async move { pool.supervise(index).await })
        };
        let supervisors = (0..names.len()).map(supervise).collect();
        Ok(Self { pool, supervisors, _leash: leash })
    }

    /// Waits until every process has asked for an event.
    ///
    /// # Errors
    /// When one has not after 120 s; the message names its function.
    pub async fn ready(&self) -> Result<(), Error> {
        let deadline = Instant::now() + START_LIMIT;
        for (index, slot) in self.pool.slots.iter().enumerate() {
            let Some(mut activity) = self.pool.runtime_api.activity(index) else { continue };
            let started = activity.wait_for(|activity| *activity != Activity::Starting);
            if timeout_at(deadline, started).await.is_err() {
                return Err(Error::new(format!("{} has not started within {START_LIMIT:?}", slot.name)));
            }
        }
        Ok(())
    }

    /// The ids of the processes of a function.
    pub fn processes(&self, name: &str) -> Vec<u32> {
        let slots = self.pool.slots.iter().filter(|slot| slot.name == name);
        slots.map(|slot| slot.process.load(Ordering::Relaxed)).filter(|process| *process != 0).collect()
    }

    /// The number of requests that each process of a function's has been given.
    pub fn requests(&self, name: &str) -> Vec<usize> {
        let slots = self.pool.slots.iter().enumerate().filter(|(_, slot)| slot.name == name);
        slots.map(|(index, _)| self.pool.runtime_api.requests(index)).collect()
    }

    /// Kills the processes of a function, which have no chance to finish anything, and replaces none of them.
    pub async fn kill(&mut self, name: &str) {
        for (slot, supervisor) in self.pool.slots.iter().zip(&mut self.supervisors) {
            if slot.name == name && !supervisor.is_finished() {
                slot.kill.notify_one();
                // It fails when it has panicked, and then the process is dead too.
                let _ = supervisor.await;
            }
        }
    }
}

impl Drop for Functions {
    fn drop(&mut self) {
        self.supervisors.iter().for_each(JoinHandle::abort);
    }
}

impl Pool {
    /// Runs the process of a slot, and runs it again whenever it has ended.
    async fn supervise(&self, index: usize) {
        let Some(slot) = self.slots.get(index) else { return };
        let mut pause = PAUSE;
        loop {
            let end = self.run(index, slot).await;
            slot.process.store(0, Ordering::Relaxed);
            let Some(end) = end else { return };
            let last = self.runtime_api.ended(index).await;
            // One that ends before it asks for an event will probably do so again.
            pause = if last == Activity::Starting { (pause * 2).min(MAX_PAUSE) } else { PAUSE };
            if self.output == Output::Show {
                let when = match last {
                    Activity::Starting => "at its start",
                    Activity::Idle => "while idle",
                    Activity::Busy(_) => "during a request, which is answered 500",
                };
                eprintln!("{} ended {when} ({end}); it is started again in {pause:?}", slot.name);
            }
            sleep(pause).await;
        }
    }

    /// Runs the process of a slot until it ends; returns how it ended, unless it was to be killed.
    async fn run(&self, index: usize, slot: &Slot) -> Option<String> {
        let binary = root().join("target/debug").join(&slot.binary);
        let mut command = Command::new(&binary);
        command
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .env("AWS_LAMBDA_RUNTIME_API", self.runtime_api.address(index))
            .env("AWS_LAMBDA_FUNCTION_NAME", &slot.binary)
            .env("AWS_LAMBDA_FUNCTION_VERSION", "1")
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512")
            .stdin(Stdio::null())
            .process_group(self.group)
            .kill_on_drop(true);
        match &self.output {
            Output::Show => {}
            Output::Discard => {
                command.stdout(Stdio::null()).stderr(Stdio::null());
            }
            Output::File(path) => match OpenOptions::new().create(true).append(true).open(path) {
                Ok(file) => {
                    command.stdout(file).stderr(Stdio::null());
                }
                Err(error) => return Some(format!("{}: {error}", path.display())),
            },
        }
        let mut process = match command.spawn() {
            Ok(process) => process,
            Err(error) => return Some(format!("{}: {error}", binary.display())),
        };
        slot.process.store(process.id().unwrap_or_default(), Ordering::Relaxed);
        tokio::select! {
            ended = process.wait() => Some(ended.map_or_else(|error| error.to_string(), |status| status.to_string())),
            () = slot.kill.notified() => {
                // It fails only when the process has ended.
                let _ = process.kill().await;
                None
            }
        }
    }
}
