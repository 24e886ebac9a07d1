//! Fibers from the outside: running, stopping, nesting, names, stack use, and when they must not stop.

#![allow(unsafe_code, reason = "looks at the buffer of a leaked fiber")]

use std::{
    cell::{Cell, RefCell},
    ptr,
    rc::Rc,
};

use tenfold_fiber::{
    Fiber, Resume, StackConfig, StackPool, is_on_fiber, may_suspend, name, set_name, stack_left, stack_used,
    suspend, without_suspending,
};

fn pool() -> StackPool {
    StackPool::new(StackConfig { stacks_max: 16, ..StackConfig::default() }).unwrap()
}

#[test]
fn a_fiber_runs_stops_and_finishes_and_gives_its_stack_back() {
    let pool = pool();
    let log = Rc::new(RefCell::new(Vec::new()));
    let mut fiber = Fiber::new(pool.take().unwrap(), "f", {
        let log = Rc::clone(&log);
        move || {
            log.borrow_mut().push(1);
            assert!(suspend());
            log.borrow_mut().push(2);
        }
    });
    assert!(log.borrow().is_empty(), "nothing runs before the first resume");
    assert_eq!(fiber.resume(), Resume::Suspended);
    assert_eq!(*log.borrow(), [1]);
    let mut fiber = fiber.into_stack().expect_err("a suspended fiber keeps its stack");
    assert_eq!(fiber.resume(), Resume::Finished);
    assert_eq!(*log.borrow(), [1, 2]);
    assert_eq!(pool.stats().in_use, 1);
    pool.put(fiber.into_stack().unwrap());
    assert_eq!((pool.stats().in_use, pool.stats().warm), (0, 1));
}

#[test]
fn a_closure_larger_than_the_stack_runs_without_touching_other_stacks() {
    let pool = StackPool::new(StackConfig { usable_bytes: 16 << 10, ..StackConfig::default() }).unwrap();
    let stacks = [pool.take().unwrap(), pool.take().unwrap(), pool.take().unwrap()];
    let [_low, neighbour, high] = stacks;
    let mut parked = Fiber::new(neighbour, "neighbour", || {
        let frame = std::hint::black_box([9_u8; 4096]);
        suspend();
        assert_eq!(std::hint::black_box(frame), [9; 4096]);
    });
    parked.resume();
    let large = vec![1_u8; 100 << 10].into_boxed_slice();
    let large: Box<[u8; 100 << 10]> = large.try_into().unwrap();
    struct Holds(#[expect(dead_code, reason = "only its size matters")] [u8; 100 << 10]);
    let held = Holds(*large);
    let fiber = Fiber::new(high, "large", move || {
        let _held = &held;
    });
    drop(fiber); // To run it, its stack would have to hold it; to make it must not hurt.
    assert_eq!(parked.resume(), Resume::Finished);
}

#[test]
fn a_fiber_that_never_ran_drops_its_closure_and_gives_its_stack_back() {
    let (pool, token) = (pool(), Rc::new(()));
    let held = Rc::clone(&token);
    drop(Fiber::new(pool.take().unwrap(), "unborn", move || drop(held)));
    assert_eq!(Rc::strong_count(&token), 1);
    assert_eq!(pool.stats().in_use, 0);
}

#[test]
fn a_fiber_dropped_while_suspended_is_leaked_with_all_it_holds() {
    let (pool, token) = (pool(), Rc::new(()));
    let held = Rc::clone(&token);
    let address = Rc::new(Cell::new(0));
    let seen = Rc::clone(&address);
    let mut fiber = Fiber::new(pool.take().unwrap(), "parked", move || {
        let buffer = [7_u8; 64];
        seen.set(buffer.as_ptr().expose_provenance());
        suspend();
        drop((held, buffer));
    });
    fiber.resume();
    drop(fiber);
    assert_eq!(Rc::strong_count(&token), 2, "not unwound");
    assert_eq!(pool.stats().in_use, 1, "not reused");
    drop(pool);
    let buffer = ptr::with_exposed_provenance::<[u8; 64]>(address.get());
    // SAFETY: what is being tested: the buffer of a leaked fiber stays mapped and untouched for ever.
    assert_eq!(unsafe { buffer.read_volatile() }, [7; 64]);
}

#[test]
fn a_fiber_can_run_fibers() {
    let pool = Rc::new(pool());
    let log = Rc::new(RefCell::new(Vec::new()));
    let (inner_pool, inner_log) = (Rc::clone(&pool), Rc::clone(&log));
    let mut outer = Fiber::new(pool.take().unwrap(), "outer", move || {
        let log = Rc::clone(&inner_log);
        let mut inner = Fiber::new(inner_pool.take().unwrap(), "inner", move || {
            log.borrow_mut().push(name().unwrap());
            suspend();
            log.borrow_mut().push(name().unwrap());
        });
        assert_eq!(inner.resume(), Resume::Suspended);
        inner_log.borrow_mut().push(name().unwrap());
        suspend();
        inner_log.borrow_mut().push(name().unwrap());
        assert_eq!(inner.resume(), Resume::Finished);
    });
    assert_eq!(outer.resume(), Resume::Suspended);
    assert!(!is_on_fiber());
    assert_eq!(outer.resume(), Resume::Finished);
    assert!(!is_on_fiber());
    assert_eq!(*log.borrow(), ["inner", "outer", "outer", "inner"]);
}

#[test]
fn a_fiber_suspended_inside_another_can_be_resumed_by_a_third_party() {
    let pool = Rc::new(pool());
    let parked = Rc::new(RefCell::new(None));
    let (inner_pool, out) = (Rc::clone(&pool), Rc::clone(&parked));
    let mut outer = Fiber::new(pool.take().unwrap(), "outer", move || {
        let mut inner = Fiber::new(inner_pool.take().unwrap(), "inner", || {
            suspend();
            assert_eq!(name(), Some("inner"));
        });
        inner.resume();
        *out.borrow_mut() = Some(inner);
    });
    assert_eq!(outer.resume(), Resume::Finished);
    assert_eq!(parked.borrow_mut().as_mut().unwrap().resume(), Resume::Finished);
    assert!(!is_on_fiber());
}

#[test]
fn names_belong_to_fibers() {
    assert_eq!(name(), None);
    set_name("ignored off a fiber");
    let pool = pool();
    let mut a = Fiber::new(pool.take().unwrap(), "a", || {
        set_name("GET /a");
        suspend();
        assert_eq!(name(), Some("GET /a"));
    });
    let mut b = Fiber::new(pool.take().unwrap(), "b", || assert_eq!(name(), Some("b")));
    a.resume();
    assert_eq!(b.resume(), Resume::Finished);
    assert_eq!(a.resume(), Resume::Finished);
}

#[test]
fn stack_use_is_seen_from_inside() {
    assert_eq!((stack_used(), stack_left()), (0, usize::MAX));
    let pool = pool();
    let stack = pool.take().unwrap();
    let usable = stack.usable_bytes();
    let mut fiber = Fiber::new(stack, "measured", move || {
        #[inline(never)]
        fn deeper() -> usize {
            let frame = std::hint::black_box([0_u8; 8192]);
            let used = stack_used();
            std::hint::black_box(&frame); // In use until here, so that the frame cannot go before the measurement.
            used
        }
        let used = stack_used();
        assert!(used > 0 && used < 4096, "{used}");
        assert!(stack_left() < usable && stack_left() + 4096 > usable);
        let deep = deeper();
        assert!(deep >= used + 8192 && deep < used + 32768, "{used} {deep}");
    });
    fiber.resume();
}

#[test]
fn suspend_is_refused_while_panicking() {
    struct SuspendsInDrop(Rc<Cell<Option<(bool, bool)>>>);
    impl Drop for SuspendsInDrop {
        fn drop(&mut self) {
            self.0.set(Some((may_suspend(), suspend())));
        }
    }
    let pool = pool();
    let seen = Rc::new(Cell::new(None));
    let out = Rc::clone(&seen);
    let mut fiber = Fiber::new(pool.take().unwrap(), "panics", move || {
        assert!(may_suspend());
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _suspends = SuspendsInDrop(out);
            std::panic::resume_unwind(Box::new("quiet"));
        }));
        assert!(caught.is_err());
        assert!(may_suspend());
    });
    assert_eq!(fiber.resume(), Resume::Finished, "it did not stop on the way");
    assert_eq!(seen.get(), Some((false, false)));
}

#[test]
fn suspend_is_refused_in_a_section_without_suspending_also_after_a_panic_in_it() {
    let pool = pool();
    let mut fiber = Fiber::new(pool.take().unwrap(), "holds", || {
        without_suspending(|| {
            assert!(!may_suspend());
            without_suspending(|| ());
            assert!(!suspend(), "the outer section is still on");
        });
        let panics = || without_suspending(|| std::panic::resume_unwind(Box::new("quiet")));
        assert!(std::panic::catch_unwind(panics).is_err());
        assert!(may_suspend());
        assert!(suspend());
    });
    assert_eq!(fiber.resume(), Resume::Suspended);
    assert_eq!(fiber.resume(), Resume::Finished);
}

#[test]
fn a_section_of_one_fiber_does_not_hold_another() {
    let pool = Rc::new(pool());
    let inner = pool.take().unwrap();
    let mut outer = Fiber::new(pool.take().unwrap(), "outer", move || {
        let mut inner = Fiber::new(inner, "inner", || assert!(suspend()));
        without_suspending(|| assert_eq!(inner.resume(), Resume::Suspended));
        assert_eq!(inner.resume(), Resume::Finished);
    });
    assert_eq!(outer.resume(), Resume::Finished);
}

#[test]
#[should_panic(expected = "called on a plain thread")]
fn suspending_a_plain_thread_panics_with_a_reason() {
    suspend();
}

#[test]
#[should_panic(expected = "completed coroutine")]
fn resuming_a_finished_fiber_panics() {
    let pool = pool();
    let mut fiber = Fiber::new(pool.take().unwrap(), "done", || {});
    fiber.resume();
    fiber.resume();
}
