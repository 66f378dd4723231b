//! Waiting for what has to come, and a clock that tests move.

use std::future::Future;
use std::pin::pin;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

/// How long a test waits for what has to come. Generous: a busy machine must not fail a test.
pub const LIMIT: Duration = Duration::from_secs(120);

/// How long [`eventually`] leaves the machine to others between two looks.
const BETWEEN_LOOKS: Duration = Duration::from_millis(50);

/// The result of a future that has to end; panics with `what` was awaited when it does not.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    let (mut future, started) = (pin!(future), Instant::now());
    loop {
        tokio::select! {
            output = &mut future => return output,
            () = pause() => assert!(started.elapsed() < LIMIT, "waited {} s in vain for {what}", LIMIT.as_secs()),
        }
    }
}

/// Looks again and again until there is something; panics with `what` was awaited when there never is.
pub async fn eventually<T>(what: &str, look: impl AsyncFn() -> Option<T>) -> T {
    let looks = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            pause().await;
        }
    };
    within(what, looks).await
}

/// A moment between two looks, also while tokio's clock is stopped.
async fn pause() {
    tokio::task::spawn_blocking(|| std::thread::sleep(BETWEEN_LOOKS)).await.unwrap();
}

/// The clock of tokio, stopped for as long as this exists. Input and output go on, and take no time.
pub struct StoppedClock {
    /// Ends the thread that keeps the clock from advancing by itself.
    _until_dropped: Sender<()>,
}

impl StoppedClock {
    pub fn new() -> Self {
        tokio::time::pause();
        let (until_dropped, dropped) = channel::<()>();
        // A stopped clock jumps to the next timer while nothing runs, unless a blocking task does.
        tokio::task::spawn_blocking(move || dropped.recv());
        Self { _until_dropped: until_dropped }
    }

    /// Lets time pass.
    pub async fn advance(&self, by: Duration) {
        tokio::time::advance(by).await;
    }
}

impl Drop for StoppedClock {
    fn drop(&mut self) {
        tokio::time::resume();
    }
}
