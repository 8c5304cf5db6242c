//! A queue between tasks of one world. The relay's listener must be `Send`, so it is made of an `Arc`.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Poll, Waker};

pub struct Channel<T>(Arc<Mutex<Inner<T>>>);

struct Inner<T> {
    items: VecDeque<T>,
    waker: Option<Waker>,
}

impl<T> Default for Channel<T> {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Inner {
            items: VecDeque::new(),
            waker: None,
        })))
    }
}

impl<T> Clone for Channel<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Channel<T> {
    fn inner(&self) -> MutexGuard<'_, Inner<T>> {
        self.0.lock().expect("no panic")
    }

    pub fn push(&self, item: T) {
        let mut inner = self.inner();
        inner.items.push_back(item);
        if let Some(waker) = inner.waker.take() {
            waker.wake();
        }
    }

    pub fn is_empty(&self) -> bool {
        self.inner().items.is_empty()
    }

    /// The oldest item, as soon as there is one. Dropping the future loses nothing.
    pub async fn next(&self) -> T {
        poll_fn(|context| {
            let mut inner = self.inner();
            if let Some(item) = inner.items.pop_front() {
                return Poll::Ready(item);
            }
            inner.waker = Some(context.waker().clone());
            Poll::Pending
        })
        .await
    }
}
