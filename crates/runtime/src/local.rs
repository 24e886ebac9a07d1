//! Values that belong to the running fiber, or to the thread where there is none.

use std::rc::Rc;

use crate::task;

/// A fiber-local: each fiber sees a value of its own, made at its first use and dropped with the fiber.
///
/// A `thread_local!` is shared by all fibers of a thread, and what one stores there the next one finds after any wait.
///
/// ```
/// use std::cell::Cell;
/// use tenfold_runtime::Local;
/// static DEPTH: Local<Cell<u32>> = Local::new(|| Cell::new(1));
/// DEPTH.with(|depth| depth.set(depth.get() + 1));
/// assert_eq!(DEPTH.with(Cell::get), 2);
/// assert_eq!(tenfold_runtime::spawn(|| DEPTH.with(Cell::get)).join().unwrap(), 1);
/// ```
#[derive(Debug)]
pub struct Local<T: 'static> {
    init: fn() -> T,
    /// Gives each static an address of its own, even for types without a size.
    _address: u8,
}

impl<T: 'static> Local<T> {
    /// A key for a `static`.
    pub const fn new(init: fn() -> T) -> Local<T> {
        Local { init, _address: 0 }
    }

    /// Runs `f` on the value. Cost: a search among the fiber's locals, of which there are few. `f` may wait.
    pub fn with<R>(&'static self, f: impl FnOnce(&T) -> R) -> R {
        let key = std::ptr::from_ref(self).addr();
        let found = task::with(|task| {
            let locals = &task.extra.as_ref()?.locals;
            locals.iter().find(|(other, _)| *other == key).map(|(_, value)| value.clone())
        });
        // The value is made outside of the borrow: its initialiser may use other locals.
        let value = found.unwrap_or_else(|| {
            let value: Rc<dyn std::any::Any> = Rc::new((self.init)());
            task::with(|task| task.extra_mut().locals.push((key, value.clone())));
            value
        });
        f(value.downcast_ref::<T>().expect("a key's values are of its type"))
    }
}
