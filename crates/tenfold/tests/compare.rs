//! `compare` as a person uses it: real servers, real load, short. Only ratios within one run are asserted, never times.

use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::{Mutex, PoisonError};

use tenfold::compare::report::{Measured, Report};

/// Two comparisons at a time would measure each other.
static ALONE: Mutex<()> = Mutex::new(());

fn run(arguments: &[&str]) -> Output {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    Command::new(env!("CARGO_BIN_EXE_tenfold")).arg("compare").args(arguments).output().unwrap()
}

fn file(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("tenfold-compare-test-{}-{name}", std::process::id()))
}

/// Compares and reads the JSON.
fn report(name: &str, arguments: &[&str]) -> (Report, String) {
    let json = file(&format!("{name}.json"));
    let output = run(&[arguments, &["--json", json.to_str().unwrap()]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = std::fs::read_to_string(&json).unwrap();
    std::fs::remove_file(&json).unwrap();
    (Report::from_json(&text).unwrap(), String::from_utf8(output.stdout).unwrap())
}

fn measured<'a>(report: &'a Report, workload: &str, model: &str) -> &'a Measured {
    let found = report.workload(workload).and_then(|workload| workload.measured(model));
    found.unwrap_or_else(|| panic!("no figures of {workload} under {model}: {report:?}"))
}

fn last_end(report: &Report, workload: &str, model: &str) -> f64 {
    measured(report, workload, model).last_end_ms.expect("requests that came at once have a last end").median
}

#[test]
fn a_mistake_is_one_line_on_stderr_and_exit_code_2() {
    let mistakes: [(&[&str], &str); 10] = [
        (&["--workload", "helo"], "helo"),
        (&["--model", "fiber,fibre"], "fibre"),
        (&["--store", "oracle://localhost"], "postgres"),
        (&["--store", "sim:soon"], "soon"),
        (&["--route", "nowhere"], "nowhere"),
        (&["--route", "GET:/", "--workload", "hello"], "--workload"),
        (&["--rounds", "0"], "--rounds"),
        (&["--seconds", "0"], "--seconds"),
        (&["--from", "/nonexistent.json"], "/nonexistent.json"),
        (&["--html", "/nonexistent/report.html"], "/nonexistent"),
    ];
    for (arguments, word) in mistakes {
        let output = run(arguments);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), said.lines().count()), (Some(2), 1), "{arguments:?}: {said}");
        assert!(said.contains(word) && output.stdout.is_empty(), "{arguments:?}: {said}");
    }
}

#[test]
fn two_models_end_up_in_table_json_and_page() {
    let html = file("page.html");
    let arguments = ["--workload", "hello,cycle", "--model", "serial,fiber", "--quick", "--html"];
    let (report, table) = report("two", &[&arguments[..], &[html.to_str().unwrap()]].concat());
    let page = std::fs::read_to_string(&html).unwrap();
    std::fs::remove_file(&html).unwrap();
    for workload in ["hello", "cycle"] {
        for model in ["serial", "fiber"] {
            let row = measured(&report, workload, model);
            assert!(row.requests_per_second.median > 0.0 && row.errors == 0, "{workload} {model}: {row:?}");
            assert!(row.memory_kib.median > 500.0 && row.threads.median >= 1.0, "{row:?}");
        }
        assert!(table.contains(&format!("\n{workload}: ")) && page.contains(&format!("<h2>{workload}</h2>")));
    }
    // Waits of a millisecond overlap on fibers, and hold a process that serves one connection at a time.
    let rate = |model| measured(&report, "cycle", model).requests_per_second.median;
    assert!(rate("fiber") > 3.0 * rate("serial"), "{table}");
    let recommendation = report.recommendation.as_ref().unwrap();
    assert_eq!((recommendation.workload.as_str(), recommendation.model.as_str()), ("cycle", "fiber"));
    assert!(table.contains("Recommended for cycle: fiber") && page.contains("<svg"));
}

#[test]
fn waits_overlap_where_they_can_and_computing_adds_up_everywhere() {
    let models = "serial,thread,fiber";
    let (report, _) = report("at-once", &["--workload", "cpu,io", "--model", models, "--quick"]);
    for model in ["serial", "thread", "fiber"] {
        let cpu = measured(&report, "cpu", model);
        assert_eq!((cpu.errors, cpu.timeline.len()), (0, 10), "{model}");
        // Ten times 100 ms: on one processor none can end before their sum, however it takes turns.
        assert!(last_end(&report, "cpu", model) >= 950.0, "{model}: {cpu:?}");
    }
    for model in ["thread", "fiber"] {
        let times = last_end(&report, "io", "serial") / last_end(&report, "io", model);
        assert!(times > 2.0, "{model}: {times}");
    }
}

#[test]
fn a_route_of_the_app_itself_is_measured() {
    let arguments = ["--route", "GET:/sleep/5", "--model", "serial,fiber", "--quick", "--rounds", "1"];
    let (report, table) = report("route", &arguments);
    let rate = |model| measured(&report, "route", model).requests_per_second.median;
    assert!(rate("fiber") > 3.0 * rate("serial"), "{table}");
    assert!(table.contains("Recommended for route: fiber"), "{table}");
}

#[test]
fn a_model_that_cannot_take_a_workload_in_says_so() {
    let arguments = ["--workload", "push", "--model", "serial,fiber", "--quick", "--connections", "40"];
    let (report, table) = report("unfit", &arguments);
    assert!(table.contains("takes in 1 of 40 connections"), "{table}");
    let events = |model| measured(&report, "push", model).events_per_second.unwrap().median;
    assert!(events("fiber") > 10.0 * events("serial"), "{table}");
}
