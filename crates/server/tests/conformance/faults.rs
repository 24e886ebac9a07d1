//! Faults of the machine: descriptors run out, the disk under the access log is full. Served on, logged, recovered.

use crate::variant::Variant;

behaviours![
    without_descriptors_connections_wait_and_are_served_later,
    a_full_disk_under_the_access_log_costs_no_request,
];

fn without_descriptors_connections_wait_and_are_served_later(variant: &'static Variant) {
    let server = variant.start("", "");
    server.client().get("/without-descriptors/1500").expect_text(200, "none");
    // The handshake is the kernel's, so this works; it is accepted when there are descriptors again.
    let mut waiting: Vec<_> = (0..5).map(|_| server.client()).collect();
    for client in &mut waiting {
        client.send_get("/hello");
    }
    server.wait_for_log("cannot accept; connections wait in the kernel's queue");
    for mut client in waiting {
        client.read_response().expect_text(200, "Hello, world!");
    }
    server.wait_for_log("accepts again");
    let lines = server.log().matches("cannot accept;").count();
    assert_eq!(lines, 1, "{}", server.log());
}

fn a_full_disk_under_the_access_log_costs_no_request(variant: &'static Variant) {
    let server = variant.start("access_log = 'text'\naccess_log_file = '/dev/full'", "");
    server.client().get("/hello").expect(200);
    server.wait_for_log("the access log cannot be written; requests are served on");
    for _ in 0..20 {
        server.client().get("/hello").expect_text(200, "Hello, world!");
    }
}
