//! Waiting for what has to come, and a clock that tests move.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::pin;
use std::rc::{Rc, Weak};
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

/// How many times slower than the machine's a slow clock goes.
const SLOWNESS: u32 = 10;

thread_local! {
    /// The clock of this thread's runtime, which is the one that `#[tokio::test]` makes.
    static CLOCK: RefCell<Weak<Hold>> = RefCell::default();
}

/// The clock of tokio, which time limits of calls go by, in the hands of the test for as long as this exists. Input and
/// output go on as always.
pub struct Clock {
    _hold: Rc<Hold>,
}

impl Clock {
    /// A clock that stands still.
    pub fn stopped() -> Self {
        Self::held(false)
    }

    /// A clock that goes so slowly that a busy machine exceeds no time limit.
    pub fn slow() -> Self {
        Self::held(true)
    }

    fn held(is_slow: bool) -> Self {
        CLOCK.with_borrow_mut(|current| {
            let hold = current.upgrade().unwrap_or_else(|| Rc::new(Hold::new()));
            *current = Rc::downgrade(&hold);
            if is_slow && !hold.is_going.replace(true) {
                tokio::spawn(go_slowly());
            }
            Self { _hold: hold }
        })
    }

    /// Lets time pass.
    pub async fn advance(&self, by: Duration) {
        tokio::time::advance(by).await;
    }

    /// Lets time pass, no faster than it does, until there is something.
    pub async fn advance_until<T>(&self, what: &str, look: impl AsyncFn() -> Option<T>) -> T {
        let look = async || match look().await {
            None => {
                self.advance(BETWEEN_LOOKS).await;
                None
            }
            found => found,
        };
        eventually(what, look).await
    }
}

struct Hold {
    is_going: Cell<bool>,
    /// Ends the thread that keeps a stopped clock from jumping to the next timer while nothing runs.
    _until_dropped: Sender<()>,
}

impl Hold {
    fn new() -> Self {
        tokio::time::pause();
        let (until_dropped, dropped) = channel::<()>();
        tokio::task::spawn_blocking(move || dropped.recv());
        Self { is_going: Cell::new(false), _until_dropped: until_dropped }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        tokio::time::resume();
    }
}

async fn go_slowly() {
    loop {
        pause().await;
        if CLOCK.with_borrow(|clock| clock.upgrade().is_none()) {
            return;
        }
        tokio::time::advance(BETWEEN_LOOKS / SLOWNESS).await;
    }
}
