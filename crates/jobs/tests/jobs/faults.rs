//! A disk whose writes and synchronisations fail, and power that fails: nothing is said to be kept that is not on the disk, nothing
//! runs twice by it, and the service goes on when the fault ends.
//!
//! The method: `faulty.c` stands between the keeper and its file. What it fails, and when, is in a file; and it knows what the disk
//! would have if the power failed now. See there.
//!
//! Ten failures of the power; with `TENFOLD_LONG=1` two hundred.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use tenfold_testkit::{Case, Signal, signal_process, wait_until};

use crate::engines::{Kind, Service};
use crate::fixture::now_us;
use crate::on::On;
use crate::producers::{Kept, Producers, Random, check, death, kill};
use crate::site::Site;

const SETTINGS: &str = "model = 'fiber'\nworkers = 2";
/// errno(3).
const EIO: i32 = 5;
const ENOSPC: i32 = 28;

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = vec![
        Case::new("a_keeper_that_dies_after_a_failed_synchronisation_believes_nothing_of_it", dies_in_doubt),
        Case::new("a_file_that_cannot_be_written_at_the_start_is_said_and_tried_again", cannot_start),
        Case::new("a_job_that_wants_no_disk_waits_for_none_and_outlives_all_processes", process_is_enough),
        Case::new("power_that_fails_at_any_moment_loses_nothing", power_fails),
        Case::new("a_spool_whose_disk_fails_acknowledges_nothing_and_recovers", spool),
    ];
    for (what, word, errno) in [
        ("sync", "an_io_error", EIO),
        ("sync", "no_space", ENOSPC),
        ("write", "an_io_error", EIO),
        ("write", "no_space", ENOSPC),
    ] {
        let name = format!("a_{what}_that_fails_with_{word}_acknowledges_nothing_and_the_service_recovers");
        cases.push(Case::new(name, move || {
            let disk = FaultyDisk::site(On::File);
            let fault = format!("{what} wal {errno}");
            let kept = fails_for_a_while(&disk, &fault, "the store cannot be written", || ());
            disk.all_are_on_disk(&kept);
        }));
    }
    cases
}

/// A site on a disk that fails when it is told to.
struct FaultyDisk {
    site: Site,
}

impl FaultyDisk {
    fn site(on: On) -> FaultyDisk {
        FaultyDisk::under(Site::new(on, SETTINGS, false))
    }

    fn under(mut site: Site) -> FaultyDisk {
        site.with("LD_PRELOAD", library());
        site.with("TENFOLD_FAULTY", site.directory.join("jobs.db"));
        site.serve();
        FaultyDisk { site }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.site.directory.join(name)
    }

    /// From now on calls fail: `sync` or `write`, of `db`, `wal` or `any`, with this errno.
    fn fail(&self, order: &str) {
        fs::write(self.path("order"), order).unwrap();
        fs::rename(self.path("order"), self.path("jobs.db.fault")).unwrap();
    }

    fn mend(&self) {
        fs::remove_file(self.path("jobs.db.fault")).unwrap();
    }

    /// Waits until so many more calls have failed.
    fn wait_for_faults(&self, more: u64) {
        let count = || fs::metadata(self.path("jobs.db.faults")).map_or(0, |file| file.len());
        let least = count() + more;
        wait_until("calls have failed", || (count() >= least).then_some(()));
    }

    /// All processes are gone at once, and of the files there is what was synchronised.
    fn lose_power(&mut self) {
        self.site.kill();
        for name in ["jobs.db", "jobs.db-wal"] {
            let _ = fs::remove_file(self.path(name));
            let _ = fs::remove_file(self.path(&format!("{name}.dirty")));
            let _ = fs::rename(self.path(&format!("{name}.disk")), self.path(name));
        }
        let _ = fs::remove_file(self.path("jobs.db-shm"));
    }

    /// Whatever was acknowledged is in the file after a loss of power.
    fn all_are_on_disk(mut self, kept: &Kept) {
        self.lose_power();
        let database = rusqlite::Connection::open(self.path("jobs.db")).unwrap();
        let mut statement = database.prepare("select count(*) from job where id = ?").unwrap();
        for id in kept.keys() {
            let count: i64 = statement.query_row([id], |row| row.get(0)).unwrap();
            assert_eq!(count, 1, "{id} was acknowledged, and the disk has not got it");
        }
    }
}

/// The library, built once.
fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/jobs/faulty.c");
        let library = std::env::temp_dir().join(format!("tfj-{}-faulty.so", std::process::id()));
        let built = Command::new("cc")
            .args(["-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o"])
            .args([&library, &source])
            .arg("-ldl")
            .status();
        assert!(built.expect("a C compiler, which SQLite needs as well").success());
        library
    })
}

/// `then` is done when the fault has ended. What was acknowledged.
fn fails_for_a_while(disk: &FaultyDisk, fault: &str, said: &str, then: impl FnOnce()) -> Kept {
    let producers = Producers::start(&disk.site);
    wait_until("jobs are taken in", || (producers.kept() > 50).then_some(()));
    disk.fail(fault);
    // What was on disk before is acknowledged meanwhile; then nobody is told anything any more.
    disk.wait_for_faults(5);
    let before = producers.kept();
    disk.wait_for_faults(10);
    assert_eq!(producers.kept(), before, "nothing is acknowledged while nothing can be written");
    disk.mend();
    disk.site.wait_for_log("the file can be written again, and is whole");
    wait_until("jobs are taken in again", || (producers.kept() > before + 50).then_some(()));
    let kept = producers.stop();
    disk.site.wait_for_log(said);
    then();
    disk.site.wait_until_empty();
    check(&disk.site, &kept, &[], 0);
    kept
}

/// What the dead keeper could not synchronise is in the page cache, where the next one finds it. It must not say that it is kept:
/// the disk has not got it, and synchronising the log does not help, because its pages count as clean.
fn dies_in_doubt() {
    let mut disk = FaultyDisk::site(On::File);
    let producers = Producers::start(&disk.site);
    let mut kills = Vec::new();
    for _ in 0..3 {
        let before = producers.kept();
        wait_until("jobs are taken in", || (producers.kept() > before + 20).then_some(()));
        disk.fail(&format!("sync wal {EIO}"));
        disk.wait_for_faults(1);
        kills.push(kill(disk.site.keeper()));
        disk.mend();
        let before = producers.kept();
        wait_until("jobs are taken in again", || (producers.kept() > before + 20).then_some(()));
    }
    let kept = producers.stop();
    kills.push(death(|| disk.lose_power()));
    disk.site.serve();
    disk.site.wait_until_empty();
    check(&disk.site, &kept, &kills, 0);
    disk.all_are_on_disk(&kept);
}

fn cannot_start() {
    let disk = FaultyDisk::site(On::File);
    let kept = disk.site.note("note?after_ms=2000", "a");
    for fault in [format!("sync db {EIO}"), format!("write db {ENOSPC}")] {
        disk.fail(&fault);
        signal_process(disk.site.keeper(), Signal::KILL);
        disk.wait_for_faults(2);
        disk.site.wait_for_log("cannot use the file");
        disk.mend();
        disk.site.note("note", "b");
    }
    disk.site.wait_until_empty();
    assert_eq!(disk.site.job(&kept)["state"], "done");
}

/// No synchronisation succeeds, and those who want none do not notice; the next one who wants one does, and all are in it.
fn process_is_enough() {
    let mut disk = FaultyDisk::site(On::File);
    disk.fail(&format!("sync wal {EIO}"));
    let kept: Kept = (0..20)
        .map(|number| (disk.site.note("note?process=true&after_ms=60000", &number.to_string()), false))
        .collect();
    disk.site.kill();
    disk.mend();
    disk.site.serve();
    for id in kept.keys() {
        assert_eq!(disk.site.job(id)["phase"], "delayed");
    }
    disk.site.note("note?after_ms=60000", "synchronised");
    disk.all_are_on_disk(&kept);
}

fn power_fails() {
    let rounds = if std::env::var_os("TENFOLD_LONG").is_some() { 200 } else { 10 };
    let seed = std::env::var("TENFOLD_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(now_us);
    println!("TENFOLD_SEED={seed}");
    let mut random = Random(seed | 1);
    let mut disk = FaultyDisk::site(On::File);
    let producers = Producers::start(&disk.site);
    let mut kills = Vec::new();
    for _ in 0..rounds {
        let before = producers.kept();
        wait_until("jobs are taken in", || (producers.kept() > before + 5).then_some(()));
        std::thread::sleep(Duration::from_micros(random.below(60_000)));
        kills.push(death(|| disk.lose_power()));
        disk.site.serve();
        producers.follow(&disk.site);
    }
    let kept = producers.stop();
    disk.site.wait_until_empty();
    check(&disk.site, &kept, &kills, seed);
    disk.all_are_on_disk(&kept);
}

fn spool() {
    let Some(service) = Service::start(Kind::Redis) else { return };
    let disk = FaultyDisk::under(service.idle_site(SETTINGS, "", false));
    service.engine().kill();
    fails_for_a_while(&disk, &format!("sync wal {EIO}"), "the spool cannot be written", || {
        service.engine().restart();
    });
}
