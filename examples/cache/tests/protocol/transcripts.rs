//! Cases that are a dialogue: what is sent, and exactly what comes back.

use crate::{Named, Target};

/// Name, what is sent at once, what comes back. `↵` is CR LF; each case has keys of its own.
const DIALOGUES: &[(&str, &str, &str)] = &[
    ("set and get", "set a1 5 0 3↵abc↵get a1↵", "STORED↵VALUE a1 5 3↵abc↵END↵"),
    ("get of nothing", "get b1↵get b1 b2 b3↵", "END↵END↵"),
    (
        "get of several keys",
        "set c1 0 0 1↵1↵set c3 0 0 1↵3↵get c1 c2 c3 c1↵",
        "STORED↵STORED↵VALUE c1 0 1↵1↵VALUE c3 0 1↵3↵VALUE c1 0 1↵1↵END↵",
    ),
    (
        "a value may be empty and may contain the end of a line",
        "set d1 0 0 0↵↵set d2 0 0 6↵a↵b↵↵get d1 d2↵",
        "STORED↵STORED↵VALUE d1 0 0↵↵VALUE d2 0 6↵a↵b↵↵END↵",
    ),
    (
        "add stores what is not there",
        "add e1 0 0 1↵1↵add e1 0 0 1↵2↵get e1↵",
        "STORED↵NOT_STORED↵VALUE e1 0 1↵1↵END↵",
    ),
    (
        "replace stores what is there",
        "replace f1 0 0 1↵1↵set f1 0 0 1↵2↵replace f1 7 0 2↵33↵get f1↵",
        "NOT_STORED↵STORED↵STORED↵VALUE f1 7 2↵33↵END↵",
    ),
    (
        "append and prepend keep flags",
        "append g1 0 0 1↵x↵set g1 9 0 2↵bc↵append g1 1 0 1↵d↵prepend g1 1 0 1↵a↵get g1↵",
        "NOT_STORED↵STORED↵STORED↵STORED↵VALUE g1 9 4↵abcd↵END↵",
    ),
    (
        "delete",
        "set h1 0 0 1↵1↵delete h1↵delete h1↵get h1↵delete h1 0↵",
        "STORED↵DELETED↵NOT_FOUND↵END↵NOT_FOUND↵",
    ),
    (
        "delete takes no time",
        "delete i1 5↵",
        "CLIENT_ERROR bad command line format.  Usage: delete <key> [noreply]↵",
    ),
    (
        "incr and decr",
        "incr j1 1↵set j1 0 0 2↵10↵incr j1 5↵decr j1 6↵get j1↵decr j1 100↵incr j1 18446744073709551615↵incr j1 2↵",
        "NOT_FOUND↵STORED↵15↵9↵VALUE j1 0 2↵9 ↵END↵0↵18446744073709551615↵1↵",
    ),
    (
        "incr of what is no number",
        "set k1 0 0 3↵abc↵incr k1 1↵incr k1 x↵incr k1 -1↵",
        "STORED↵CLIENT_ERROR cannot increment or decrement non-numeric value↵CLIENT_ERROR invalid numeric delta argument↵CLIENT_ERROR invalid numeric delta argument↵",
    ),
    (
        "touch",
        "touch l1 10↵set l1 0 0 1↵1↵touch l1 10↵touch l1 -1↵get l1↵",
        "NOT_FOUND↵STORED↵TOUCHED↵TOUCHED↵END↵",
    ),
    (
        "gat",
        "set m1 3 0 1↵1↵gat 100 m1 m2↵gat -1 m1↵get m1↵",
        "STORED↵VALUE m1 3 1↵1↵END↵VALUE m1 3 1↵1↵END↵END↵",
    ),
    (
        "what is stored with a negative expiry is over",
        "set n1 0 -1 1↵1↵get n1↵add n1 0 0 1↵2↵get n1↵",
        "STORED↵END↵STORED↵VALUE n1 0 1↵2↵END↵",
    ),
    ("an expiry in the past is over", "set o1 0 2592001 1↵1↵get o1↵", "STORED↵END↵"),
    (
        "noreply",
        "set p1 0 0 1 noreply↵1↵add p1 0 0 1 noreply↵2↵incr p1 1 noreply↵append p1 0 0 1 noreply↵x↵touch p1 0 noreply↵get p1↵delete p1 noreply↵get p1↵",
        "VALUE p1 0 2↵2x↵END↵END↵",
    ),
    ("an unknown command", "frobnicate↵GET q1↵↵", "ERROR↵ERROR↵ERROR↵"),
    (
        "too few words",
        "set r1↵set r1 0 0↵r↵get↵incr r1↵touch r1↵delete↵",
        "ERROR↵ERROR↵ERROR↵ERROR↵ERROR↵ERROR↵ERROR↵",
    ),
    (
        "numbers that are none",
        "set s1 a 0 1↵set s1 0 0 -1↵set s1 0 0 x↵",
        "CLIENT_ERROR bad command line format↵CLIENT_ERROR bad command line format↵CLIENT_ERROR bad command line format↵",
    ),
    (
        "a value that is longer than was said",
        "set t1 0 0 3↵abcdef↵get t1↵",
        "CLIENT_ERROR bad data chunk↵ERROR↵END↵",
    ),
    ("a line may end without CR", "set u1 0 0 1\n1↵get u1\n", "STORED↵VALUE u1 0 1↵1↵END↵"),
    ("spaces are no words", "  set  v1  0 0   1↵1↵get   v1  ↵", "STORED↵VALUE v1 0 1↵1↵END↵"),
    (
        "verbosity",
        "verbosity 1↵verbosity 1 noreply↵verbosity foo↵verbosity↵flush_all x↵mn↵",
        "OK↵CLIENT_ERROR bad command line format↵ERROR↵CLIENT_ERROR invalid exptime argument↵MN↵",
    ),
    (
        "flush_all",
        "set w1 0 0 1↵1↵flush_all↵get w1↵set w1 0 0 1↵2↵get w1↵flush_all noreply↵get w1↵",
        "STORED↵OK↵END↵STORED↵VALUE w1 0 1↵2↵END↵END↵",
    ),
    (
        "cas of nothing, or without a number",
        "cas x1 0 0 1 5↵1↵cas x1 0 0 1 a↵",
        "NOT_FOUND↵CLIENT_ERROR bad command line format↵",
    ),
    // Meta commands.
    (
        "mg and ms",
        "ms ma1 3 F5↵abc↵mg ma1 v f s t k Oxy↵mg ma1↵mg mb1 v↵mg mb1 v q↵mn↵",
        "HD↵VA 3 f5 s3 t-1 kma1 Oxy↵abc↵HD↵EN↵MN↵",
    ),
    (
        "mg tells of reads before and of the time that is left",
        "ms mc1 1 T100↵x↵mg mc1 h l t↵mg mc1 h↵",
        "HD↵HD h0 l0 t100↵HD h1↵",
    ),
    (
        "mg may change the time that is left",
        "ms md1 1 T100↵x↵mg md1 t T30↵mg md1 t↵mg md1 T-1↵mg md1↵",
        "HD↵HD t100↵HD t30↵HD↵EN↵",
    ),
    (
        "ms in its modes",
        "ms me1 1 MR↵x↵ms me1 1 ME↵a↵ms me1 1 ME↵b↵ms me1 2 MA↵bc↵ms me1 1 MP↵_↵mg me1 v↵ms me2 1 MA↵x↵ms me1 1 Mz↵x↵",
        "NS↵HD↵NS↵HD↵HD↵VA 4↵_abc↵NS↵CLIENT_ERROR invalid mode for ms M token↵",
    ),
    ("ms is quiet about success only", "ms mf1 1 q↵1↵ms mf1 1 q ME O5 k↵2↵mn↵", "NS O5 kmf1↵MN↵"),
    ("keys in base64", "ms Zm9v 3 b↵bar↵mg foo v↵mg Zm9v b k v↵", "HD↵VA 3↵bar↵VA 3 kZm9v b↵bar↵"),
    (
        "md",
        "md mg1↵md mg1 q↵ms mg1 1↵1↵md mg1 O7 k↵mg mg1↵ms mg1 1 q↵1↵md mg1 q↵mn↵",
        "NF↵NF↵HD↵HD O7 kmg1↵EN↵MN↵",
    ),
    (
        "ma",
        "ma mh1↵ma mh1 q↵ma mh1 N0 J10 v↵ma mh1 v↵ma mh1 v D5↵ma mh1 v MD D7↵ma mh1 MD D100 v t↵ma mh1 q↵mg mh1 v↵",
        "NF↵NF↵VA 2↵10↵VA 2↵11↵VA 2↵16↵VA 1↵9↵VA 1 t-1↵0↵VA 2↵1 ↵",
    ),
    (
        "ma of what is no number",
        "set mi1 0 0 1↵x↵ma mi1↵ma mi1 Mx↵",
        "STORED↵CLIENT_ERROR cannot increment or decrement non-numeric value↵CLIENT_ERROR invalid mode for ma M token↵",
    ),
    (
        "a miss may make an item, and one client wins",
        "mg mj1 v N30 t↵mg mj1 v N30↵ms mj1 1↵x↵mg mj1 v N30↵",
        "VA 0 t30 W↵↵VA 0 Z↵↵HD↵VA 1↵x↵",
    ),
    (
        "one client is told to make an item anew before it ends",
        "ms mk1 1 T20↵x↵mg mk1 R10↵mg mk1 R30↵mg mk1 R30↵",
        "HD↵HD↵HD W↵HD Z↵",
    ),
    (
        "a stale item is served, and one client wins",
        "ms ml1 1↵x↵md ml1 I T30↵mg ml1 v t↵mg ml1 v↵ms ml1 1↵y↵mg ml1 v↵",
        "HD↵HD↵VA 1 t30 X W↵x↵VA 1 Z X↵x↵HD↵VA 1↵y↵",
    ),
    (
        "flags that are none",
        "mg mo1 v v↵mg mo1 !↵ms mo1 x↵",
        "CLIENT_ERROR duplicate flag↵CLIENT_ERROR invalid flag↵CLIENT_ERROR bad command line format↵",
    ),
];

/// Cases of flags that memcached has from 1.6.19 on, later than what many systems have.
const NEWER: &[(&str, &str, &str)] = &[
    (
        "given cas",
        "ms mm1 1 E1000↵x↵mg mm1 c↵ms mm1 1 C999↵y↵ms mm1 1 C1000 E1001↵z↵mg mm1 v c↵md mm1 C5↵md mm1 C1001↵ms mm1 1 C5↵x↵",
        "HD↵HD c1000↵EX↵HD↵VA 1 c1001↵z↵EX↵HD↵NF↵",
    ),
    (
        "a value that is older than the item may be stored as stale",
        "ms mn1 1 E1000↵x↵ms mn1 1 C900 I↵y↵mg mn1 v↵ms mn1 1 C2000000000000 I↵z↵",
        "HD↵HD↵VA 1 X W↵y↵EX↵",
    ),
];

/// The cases of commands that the installed memcached may not know; for the cache alone.
pub(crate) fn newer_cases() -> impl Iterator<Item = Named> {
    named(NEWER)
}

/// The cases.
pub(crate) fn cases() -> impl Iterator<Item = Named> {
    named(DIALOGUES)
}

fn named(list: &'static [(&str, &str, &str)]) -> impl Iterator<Item = Named> {
    list.iter().map(|&(name, sent, expected)| -> Named {
        (name, Box::new(move |target| dialogue(target, sent, expected)))
    })
}

/// Everything is sent at once; a last command shows that nothing more was said.
fn dialogue(target: &'static Target, sent: &str, expected: &str) {
    let (sent, expected) = (sent.replace('↵', "\r\n"), expected.replace('↵', "\r\n"));
    let mut client = target.client();
    client.send(format!("{sent}version\r\n")).read_exactly(&expected).read_exactly("VERSION ");
}
