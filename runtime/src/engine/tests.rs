use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use futures_lite::future::{yield_now, zip};
use futures_lite::{AsyncReadExt as _, AsyncWriteExt as _, FutureExt as _};

use super::*;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

fn engine() -> Engine {
    Engine::new().expect("an engine")
}

/// An engine with two threads.
fn running() -> (Engine, Threads) {
    let engine = engine();
    let threads = Threads::start(NonZeroUsize::new(2).expect("two"), "test", &engine).expect("threads");
    (engine, threads)
}

/// What a task comes to, on threads.
fn result_of<T: Send + 'static>(engine: &Engine, future: impl Future<Output = T> + Send + 'static) -> T {
    let (tell, told) = mpsc::channel();
    let task = engine.spawn(async move {
        let _ = tell.send(future.await);
    });
    let result = told.recv_timeout(PATIENCE).expect("it ends");
    task.detach();
    result
}

fn pair() -> (Io<UnixStream>, UnixStream) {
    let (ours, theirs) = UnixStream::pair().expect("a pair");
    (Io::new(ours).expect("taken"), theirs)
}

#[test]
fn what_comes_in_pieces_is_read_as_it_comes_and_so_is_the_end() {
    let (engine, _threads) = running();
    for end_with_the_last in [false, true] {
        let (ours, mut theirs) = UnixStream::pair().expect("a pair");
        let (got, heard) = mpsc::channel();
        engine
            .spawn(async move {
                let mut ours = Io::new(ours).expect("taken");
                let mut buffer = [0; 4];
                loop {
                    let n = ours.read(&mut buffer).await.expect("read");
                    got.send(buffer[..n].to_vec()).expect("heard");
                    if n == 0 {
                        return;
                    }
                }
            })
            .detach();
        let hear = || heard.recv_timeout(PATIENCE).expect("told");
        for piece in ["ab", "abcd", "abcdef"] {
            theirs.write_all(piece.as_bytes()).expect("written");
            let mut all = Vec::new();
            while all.len() < piece.len() {
                all.extend(hear());
            }
            assert_eq!(all, piece.as_bytes());
        }
        // The last octets and the end in one event, or the end alone.
        if end_with_the_last {
            theirs.write_all(b"z").expect("written");
        }
        drop(theirs);
        if end_with_the_last {
            assert_eq!(hear(), b"z");
        }
        assert_eq!(hear(), b"");
    }
}

#[test]
fn a_peer_that_closed_its_side_can_still_be_written_to() {
    let engine = engine();
    engine.block_on(async {
        let (mut ours, mut theirs) = pair();
        theirs.write_all(b"x").expect("written");
        theirs.shutdown(std::net::Shutdown::Write).expect("shut");
        let much = vec![7; 4 << 20];
        let reader = std::thread::spawn(move || {
            let mut all = Vec::new();
            theirs.read_to_end(&mut all).map(|_| all.len())
        });
        // It fills up more than once on the way.
        ours.write_all(&much).await.expect("written");
        let mut rest = Vec::new();
        ours.read_to_end(&mut rest).await.expect("the end");
        assert_eq!(rest, b"x");
        drop(ours);
        assert_eq!(reader.join().expect("read").expect("read"), much.len());
    });
}

#[test]
fn connections_are_made_and_refused() {
    let engine = engine();
    engine.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
        let address = listener.local_addr().expect("an address");
        let listener = Io::new(listener).expect("taken");
        let (met, made) = zip(listener.read_with(TcpListener::accept), Io::connect(address)).await;
        let mut far: TcpStream = met.expect("accepted").0;
        let mut near = made.expect("connected");
        near.write_all(b"hi").await.expect("written");
        let mut word = [0; 2];
        far.read_exact(&mut word).expect("read");
        assert_eq!(&word, b"hi");
        drop(listener);
        assert!(Io::connect(address).await.is_err(), "nobody is there");
    });
}

#[test]
fn times_come_in_their_order_and_not_early() {
    let engine = engine();
    let begun = Instant::now();
    let order = engine.block_on(async {
        let order = Mutex::new(Vec::new());
        let wait = async |ms: u64| {
            Timer::after(Duration::from_millis(ms)).await;
            assert!(begun.elapsed() >= Duration::from_millis(ms), "{ms}");
            guard(&order).push(ms);
        };
        // The later one first: an earlier time sets the clock anew.
        zip(wait(40), zip(wait(5), wait(20))).await;
        order.into_inner().expect("no panic")
    });
    assert_eq!(order, [5, 20, 40]);
}

#[test]
fn a_timer_can_be_set_again_and_dropped() {
    let engine = engine();
    engine.block_on(async {
        let mut timer = Timer::after(PATIENCE);
        assert!(futures_lite::future::poll_once(&mut timer).await.is_none());
        timer.set_at(Instant::now() + Duration::from_millis(5));
        timer.await;
        drop(Timer::after(PATIENCE));
        let never = async {
            Timer::never().await;
            true
        };
        let soon = async {
            Timer::after(Duration::from_millis(5)).await;
            false
        };
        assert!(!never.or(soon).await);
    });
    assert_eq!(engine.0.poller.times(), 0, "nothing is kept");
}

#[test]
fn tasks_that_are_woken_from_elsewhere_run() {
    let (engine, _threads) = running();
    for _ in 0..2_000 {
        let (tell, told) = async_channel::bounded::<u8>(1);
        let waits = async move { told.recv().await.expect("told") };
        let (done, end) = mpsc::channel();
        engine
            .spawn(async move { done.send(waits.await).expect("heard") })
            .detach();
        std::thread::spawn(move || tell.send_blocking(3).expect("heard"));
        assert_eq!(end.recv_timeout(PATIENCE), Ok(3), "no wake-up is lost");
    }
}

#[test]
fn a_call_that_a_busy_thread_takes_is_made_anew_the_next_time() {
    let engine = engine();
    // Another thread sleeps.
    engine.0.asleep.fetch_add(1, Ordering::SeqCst);
    for _ in 0..2 * ROUND.get() {
        engine.spawn(async {}).detach();
    }
    assert!(engine.0.roused.load(Ordering::SeqCst), "it was called");
    let _here = Here::enter(&engine.0, true);
    engine.0.turn(&mut Heard::default(), || true);
    assert!(!engine.0.roused.load(Ordering::SeqCst), "it can be called again");
}

#[test]
fn a_task_that_holds_its_thread_up_holds_up_no_other() {
    let (engine, _threads) = running();
    let (free, wait) = mpsc::channel::<()>();
    let (began, begun) = mpsc::channel();
    let held = engine.spawn(async move {
        began.send(()).expect("heard");
        wait.recv_timeout(PATIENCE).expect("let go");
    });
    begun.recv_timeout(PATIENCE).expect("it runs");
    for n in 0..200 {
        let came = result_of(&engine, async move {
            yield_now().await;
            Timer::after(Duration::from_micros(10)).await;
            n
        });
        assert_eq!(came, n);
    }
    free.send(()).expect("it waits");
    futures_lite::future::block_on(held);
}

#[test]
fn a_panic_ends_its_task_alone() {
    let (engine, _threads) = running();
    engine.spawn(async { panic!("told you") }).detach();
    engine.spawn(async { panic!("told you") }).detach();
    engine.spawn(async { panic!("told you") }).detach();
    assert_eq!(result_of(&engine, async { 1 }), 1);
}

#[test]
fn with_the_engine_its_tasks_are_dropped() {
    let (engine, threads) = running();
    let alive = Arc::new(());
    for n in 0..10 {
        let alive = Arc::clone(&alive);
        engine
            .spawn(async move {
                let _alive = alive;
                if n % 2 == 0 {
                    Timer::never().await;
                }
                Timer::after(PATIENCE).await;
            })
            .detach();
    }
    result_of(&engine, yield_now());
    assert_eq!(Arc::strong_count(&alive), 11);
    drop(threads);
    drop(engine);
    assert_eq!(Arc::strong_count(&alive), 1);
}

#[test]
fn without_an_engine_that_of_the_process_serves() {
    let (mut ours, mut theirs) = pair();
    let word = async {
        let mut word = [0; 2];
        ours.read_exact(&mut word).await.expect("read");
        word
    };
    let write = async {
        Timer::after(Duration::from_millis(5)).await;
        theirs.write_all(b"ok").expect("written");
    };
    assert_eq!(&futures_lite::future::block_on(zip(word, write)).0, b"ok");
}
