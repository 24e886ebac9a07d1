//! `OnceCell` and `Once`: something that is done the first time that it is needed, and may wait while it is done.

use std::convert::Infallible;
use std::sync::OnceLock;

use super::error::WaitError;
use super::semaphore::Semaphore;

/// A value that is made by whoever needs it first. Others wait for that meanwhile.
///
/// ```
/// use tenfold_runtime::sync::OnceCell;
/// static PORT: OnceCell<u16> = OnceCell::new();
/// assert_eq!(PORT.get_or_init(|| 8080), Ok(&8080));
/// assert_eq!(PORT.get_or_init(|| 9090), Ok(&8080));
/// ```
#[derive(Debug)]
pub struct OnceCell<T> {
    value: OnceLock<T>,
    /// One makes the value at a time.
    turn: Semaphore,
}

impl<T> OnceCell<T> {
    /// An empty cell.
    pub const fn new() -> OnceCell<T> {
        OnceCell { value: OnceLock::new(), turn: Semaphore::new(1) }
    }

    /// The value, if it has been made.
    #[inline]
    pub fn get(&self) -> Option<&T> {
        self.value.get()
    }

    /// Sets the value.
    ///
    /// # Errors
    /// The value goes back when there is one already.
    pub fn set(&self, value: T) -> Result<(), T> {
        self.value.set(value)
    }

    /// The value; `make` is run if there is none. When `make` panics, the next one who needs the value tries.
    ///
    /// # Errors
    /// [`WaitError`] when the wait for another's `make` ends early.
    ///
    /// # Panics
    /// With the panic of `make`. Calling it again from inside `make` waits for ever.
    pub fn get_or_init(&self, make: impl FnOnce() -> T) -> Result<&T, WaitError> {
        match self.get_or_try_init(|| Ok::<T, Infallible>(make())) {
            Ok(made) => made.map_err(|never| match never {}),
            Err(error) => Err(error),
        }
    }

    /// As [`OnceCell::get_or_init`], for a `make` that may fail; the next one who needs the value tries again.
    ///
    /// # Errors
    /// Outside, [`WaitError`] of the wait for another's `make`; inside, the error of `make`.
    pub fn get_or_try_init<E>(
        &self,
        make: impl FnOnce() -> Result<T, E>,
    ) -> Result<Result<&T, E>, WaitError> {
        if let Some(value) = self.value.get() {
            return Ok(Ok(value));
        }
        let _turn = self.turn.acquire()?;
        if let Some(value) = self.value.get() {
            return Ok(Ok(value));
        }
        Ok(make().map(|value| self.value.get_or_init(|| value)))
    }

    /// The value of a cell that nobody else can see.
    pub fn into_inner(self) -> Option<T> {
        self.value.into_inner()
    }
}

impl<T> Default for OnceCell<T> {
    fn default() -> Self {
        OnceCell::new()
    }
}

/// Something that is done once.
///
/// ```
/// use tenfold_runtime::sync::Once;
/// static START: Once = Once::new();
/// START.call_once(|| println!("starting")).unwrap();
/// assert!(START.is_completed());
/// ```
#[derive(Debug, Default)]
pub struct Once(OnceCell<()>);

impl Once {
    /// Not done yet.
    pub const fn new() -> Once {
        Once(OnceCell::new())
    }

    /// Runs `f` unless that was done before; returns when it has been done. When `f` panics, the next caller tries.
    ///
    /// # Errors
    /// [`WaitError`] when the wait for another caller's `f` ends early.
    ///
    /// # Panics
    /// With the panic of `f`.
    pub fn call_once(&self, f: impl FnOnce()) -> Result<(), WaitError> {
        self.0.get_or_init(f).copied()
    }

    /// Whether it has been done.
    #[inline]
    pub fn is_completed(&self) -> bool {
        self.0.get().is_some()
    }
}
