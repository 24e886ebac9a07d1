//! The wheel: exact ticks, cancelling, and many timers, all against a model.

use super::*;

/// A small generator, so that a failure can be repeated (xorshift64, G. Marsaglia 2003).
pub(super) fn random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

#[test]
fn fires_every_timer_exactly_at_its_tick_whatever_the_distance() {
    for deadline in [1, 2, 63, 64, 65, 127, 128, 4095, 4096, 4097, 262_144, 16_777_217, 1_073_741_824] {
        for start in [0, 1, 63, 64, 4095, 4096, 1_000_003] {
            let mut wheel = Wheel::new();
            let mut fired = Vec::new();
            wheel.advance(start, &mut fired);
            wheel.add(start + deadline, 7);
            wheel.advance(start + deadline - 1, &mut fired);
            assert!(fired.is_empty(), "early: {start}+{deadline}");
            wheel.advance(start + deadline, &mut fired);
            assert_eq!(fired, [7], "late: {start}+{deadline}");
            assert!(wheel.is_empty());
        }
    }
}

#[test]
fn agrees_with_a_sorted_list_over_random_adds_cancels_and_steps() {
    let mut seed = 0x9E37_79B9_7F4A_7C15;
    for _ in 0..50 {
        let mut wheel = Wheel::new();
        let mut model: Vec<(u64, u64, TimerId)> = Vec::new();
        let mut now = 0;
        for value in 0..400 {
            match random(&mut seed) % 4 {
                0 | 1 => {
                    let magnitude = random(&mut seed) % 22;
                    let deadline = now + 1 + random(&mut seed) % (1 << magnitude);
                    model.push((deadline, value, wheel.add(deadline, value)));
                }
                2 if !model.is_empty() => {
                    let victim = model.swap_remove(random(&mut seed) as usize % model.len());
                    assert!(wheel.cancel(victim.2));
                    assert!(!wheel.cancel(victim.2), "a second cancel finds nothing");
                }
                _ => {
                    let magnitude = random(&mut seed) % 20;
                    now += random(&mut seed) % (1 << magnitude);
                    let mut fired = Vec::new();
                    wheel.advance(now, &mut fired);
                    let mut due: Vec<u64> =
                        model.iter().filter(|timer| timer.0 <= now).map(|timer| timer.1).collect();
                    model.retain(|timer| timer.0 > now);
                    due.sort_unstable();
                    fired.sort_unstable();
                    assert_eq!(fired, due);
                }
            }
            assert_eq!(wheel.len(), model.len());
            let earliest = model.iter().map(|timer| timer.0).min();
            assert!(
                wheel.next_ms() <= earliest || earliest.is_none(),
                "the wheel would sleep past a deadline"
            );
        }
    }
}

#[test]
fn timers_of_one_tick_fire_in_the_order_in_which_they_were_added() {
    // 5 ms is in the first level at once, 100 ms and 10 s come down to it over one and two others.
    for deadline in [5, 100, 10_000] {
        let mut wheel = Wheel::new();
        let ids: Vec<TimerId> = (0..10).map(|value| wheel.add(deadline, value)).collect();
        wheel.cancel(ids[0]);
        wheel.cancel(ids[4]);
        wheel.cancel(ids[9]);
        let mut fired = Vec::new();
        wheel.advance(deadline, &mut fired);
        assert_eq!(fired, [1, 2, 3, 5, 6, 7, 8], "at {deadline} ms");
    }
}

#[test]
fn a_full_slot_comes_down_in_small_parts_and_in_order() {
    let mut wheel = Wheel::new();
    // 60 slots of level 0 in one slot of level 2, which is [8192, 12288).
    let deadline = |value: u64| 8_200 + value % 60 * 63;
    for value in 0..90_000 {
        wheel.add(deadline(value), value);
    }
    let mut added = 90_000;
    let mut fired: Vec<u64> = Vec::new();
    for now in 1..12_288 {
        let before = wheel.levels.each_ref().map(|level| level.slots.map(|slot| slot.len));
        let fired_before = fired.len();
        wheel.advance(now, &mut fired);
        let moved: u32 = (1..LEVELS)
            .flat_map(|level| (0..SLOTS).map(move |slot| (level, slot)))
            .map(|(level, slot)| before[level][slot].saturating_sub(wheel.levels[level].slots[slot].len))
            .sum();
        assert!(moved <= 3 * PACE as u32, "{moved} timers moved in the tick {now}");
        assert!(fired[fired_before..].iter().all(|&value| deadline(value) == now));
        // Later ones of the same ticks are filed while the earlier ones are on their way down.
        if now % 64 == 1 && now < 8_192 {
            wheel.add(deadline(added), added);
            added += 1;
        }
    }
    assert_eq!(fired.len() as u64, added);
    for tick in fired.chunk_by(|&a, &b| deadline(a) == deadline(b)) {
        assert!(tick.is_sorted(), "timers of one tick overtook each other");
    }
}

#[test]
fn a_deadline_in_the_past_fires_at_the_next_tick() {
    let mut wheel = Wheel::new();
    let mut fired = Vec::new();
    wheel.advance(1000, &mut fired);
    wheel.add(3, 1);
    assert_eq!(wheel.next_ms(), Some(1001));
    wheel.advance(1001, &mut fired);
    assert_eq!(fired, [1]);
}

#[test]
fn a_deadline_beyond_the_horizon_is_refiled_and_not_early() {
    let mut wheel = Wheel::new();
    let mut fired = Vec::new();
    let deadline = Wheel::HORIZON_MS + 12_345;
    wheel.add(deadline, 1);
    wheel.advance(deadline - 1, &mut fired);
    assert!(fired.is_empty());
    wheel.advance(deadline, &mut fired);
    assert_eq!(fired, [1]);
}
