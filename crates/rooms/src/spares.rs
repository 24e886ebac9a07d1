//! `Spares`: compressors and decompressors of a process, for whichever thread needs one just now.
//!
//! Messages keep no window, so nothing ties one of them to a connection or a thread. One for each thread would be the obvious
//! way, but a model with a thread for each connection would have as many of them as connections, at up to 370 KiB; and
//! nobody waits while he has one, so there are never more in use than threads that run.

use std::sync::{Mutex, PoisonError};

use tenfold_http::websocket::{Deflater, Inflater, Window};

/// Most of a kind that are kept; further ones are made when they are needed and dropped afterwards.
const KEPT_MAX: usize = 8;

static INFLATERS: Spares<Inflater> = Spares::new();
/// One kind for each window.
static DEFLATERS: [Spares<Deflater>; Window::ALL.len()] = [const { Spares::new() }; Window::ALL.len()];

struct Spares<T>(Mutex<Vec<T>>);

/// Has `f` decompress. It must not wait for anything.
pub(crate) fn with_inflater<R>(f: impl FnOnce(&mut Inflater) -> R) -> R {
    INFLATERS.with(Inflater::new, f)
}

/// Has `f` compress for this window. It must not wait for anything.
pub(crate) fn with_deflater<R>(window: Window, f: impl FnOnce(&mut Deflater) -> R) -> R {
    DEFLATERS[window as usize].with(|| Deflater::new(window), f)
}

impl<T> Spares<T> {
    const fn new() -> Spares<T> {
        Spares(Mutex::new(Vec::new()))
    }

    /// The one that was used last is the first to be used again: it is in the processor's cache.
    fn with<R>(&self, make: impl FnOnce() -> T, f: impl FnOnce(&mut T) -> R) -> R {
        let spare = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut spare = spare.unwrap_or_else(make);
        let result = f(&mut spare);
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < KEPT_MAX {
            kept.push(spare);
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_back_is_used_again_and_no_more_are_kept_than_the_bound() {
        fn nest(spares: &Spares<usize>, made: &mut usize, depth: usize) {
            let number = *made;
            *made += 1;
            spares.with(
                || number,
                |_| {
                    if depth > 1 {
                        nest(spares, made, depth - 1)
                    }
                },
            );
        }
        let spares = Spares::new();
        nest(&spares, &mut 0, 1);
        let again = spares.with(|| unreachable!("there is one"), |number| *number);
        assert_eq!(again, 0);
        nest(&spares, &mut 1, KEPT_MAX + 3);
        assert_eq!(spares.0.lock().unwrap().len(), KEPT_MAX);
    }
}
