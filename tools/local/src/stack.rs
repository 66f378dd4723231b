//! `local stack`: runs the commands of the Procfile, and ends all of them together.
//!
//! They end when one of them ends, at Ctrl-C, SIGTERM and SIGHUP, when the terminal is closed, and when this process or the one that started it is
//! killed.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::{CommandExt, parent_id};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};

use crate::Error;
use crate::process::{Leash, root};

/// How often the commands, the terminal and the parent are checked.
const POLL: Duration = Duration::from_millis(200);

/// How long the commands have to end after SIGTERM, before they are killed.
const GRACE: Duration = Duration::from_secs(5);

/// A command of the Procfile.
struct Process {
    name: String,
    child: Child,
}

/// Runs the commands of the Procfile until they end.
///
/// # Errors
/// When the Procfile cannot be read, or one of its commands cannot be started or ends by itself.
pub async fn run() -> Result<(), Error> {
    let failed = |error: std::io::Error| Error::new(error.to_string());
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut hang_up = signal(SignalKind::hangup()).map_err(failed)?;
    let procfile =
        std::fs::read_to_string(root().join("Procfile")).map_err(|error| Error::new(format!("Procfile: {error}")))?;
    // All processes are in one group, which is killed if this process is.
    let leash = Leash::new(GRACE)?;
    let mut processes = Vec::new();
    for (name, command) in commands(&procfile) {
        processes.push(Process::start(name, command, &leash)?);
    }
    let result = tokio::select! {
        result = ended(&mut processes) => result,
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
        _ = hang_up.recv() => Ok(()),
    };
    stop(processes);
    result
}

/// The names and commands of a Procfile.
fn commands(procfile: &str) -> impl Iterator<Item = (&str, &str)> {
    let lines = procfile.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.split_once(':')).map(|(name, command)| (name.trim(), command.trim()))
}

impl Process {
    fn start(name: &str, command: &str, leash: &Leash) -> Result<Self, Error> {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("exec 2>&1; {command}")]).current_dir(root()).process_group(leash.group()?);
        let child = shell.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
        let mut child = child.map_err(|error| Error::new(format!("{name}: {error}")))?;
        if let Some(pipe) = child.stdout.take() {
            let prefix = format!("{name:<10} | ");
            std::thread::spawn(move || show(&prefix, pipe));
        }
        Ok(Self { name: name.to_owned(), child })
    }
}

/// Shows the lines of a command after a prefix, until it ends.
fn show(prefix: &str, pipe: impl Read) {
    for line in BufReader::new(pipe).split(b'\n') {
        let Ok(line) = line else { return };
        // It fails when the terminal is closed: then nobody reads it, and the command must not notice.
        let _ = writeln!(std::io::stdout(), "{prefix}{}", String::from_utf8_lossy(&line));
    }
}

/// Waits until a command has ended, or the terminal or the parent of this process is gone.
async fn ended(processes: &mut [Process]) -> Result<(), Error> {
    // A closed terminal sends SIGHUP to its first process only, which may be `make`.
    let (parent, had_terminal) = (parent_id(), has_terminal());
    while parent_id() == parent && has_terminal() == had_terminal {
        for process in &mut *processes {
            if let Ok(Some(status)) = process.child.try_wait() {
                return Err(Error::new(format!("{} ended ({status}), and with it the stack", process.name)));
            }
        }
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}

/// Whether this process has a terminal that is open.
fn has_terminal() -> bool {
    std::fs::File::open("/dev/tty").is_ok()
}

/// Stops the commands. What is left of them is killed with the group.
fn stop(mut processes: Vec<Process>) {
    let ids = processes.iter().map(|process| process.child.id().to_string());
    // SIGTERM, which the standard library cannot send. Those that have ended already are no failure.
    let _ = Command::new("kill").arg("-TERM").args(ids).stderr(Stdio::null()).status();
    let deadline = Instant::now() + GRACE;
    let is_running = |process: &mut Process| matches!(process.child.try_wait(), Ok(None));
    while processes.iter_mut().any(is_running) && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_procfile_has_a_command_on_each_line() {
        let procfile = "# All of it\nweb: exec serve --at 127.0.0.1:80\n\nworker:  work\n";
        let commands: Vec<_> = commands(procfile).collect();
        assert_eq!(commands, [("web", "exec serve --at 127.0.0.1:80"), ("worker", "work")]);
    }
}
