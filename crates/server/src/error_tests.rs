//! The table of statuses, line by line.

use super::*;

#[derive(Debug, thiserror::Error)]
#[error("the query failed")]
struct Driver(#[source] io::Error);

fn json_error() -> serde_json::Error {
    serde_json::from_str::<u8>("x").unwrap_err()
}

#[test]
fn every_error_has_the_status_of_the_table() {
    let table: Vec<(Error, u16)> = vec![
        (Rejection::InvalidPath("x".into()).into(), 400),
        (Rejection::PathMismatch("x".into()).into(), 500),
        (Rejection::InvalidQuery("x".into()).into(), 400),
        (Rejection::UnsupportedContentType { expected: "application/json" }.into(), 415),
        (Rejection::InvalidJson(json_error()).into(), 400),
        (Rejection::JsonMismatch(json_error()).into(), 422),
        (Rejection::InvalidForm("x".into()).into(), 422),
        (Rejection::InvalidUtf8.into(), 400),
        (Rejection::InvalidUri.into(), 400),
        (Rejection::BodyTaken.into(), 500),
        (Rejection::MissingState { type_name: "Db" }.into(), 500),
        (Rejection::NoAddress.into(), 500),
        (Rejection::Body(BodyReadError::TooLarge { bytes_max: 1 }).into(), 413),
        (BodyReadError::Malformed(BodyError::TooLarge).into(), 413),
        (BodyReadError::Malformed(BodyError::InvalidChunkSize).into(), 400),
        (BodyReadError::Stalled.into(), 408),
        (BodyReadError::NoRoom.into(), 503),
        (BodyReadError::ClientGone.into(), 499),
        (BodyReadError::Busy.into(), 500),
        (BodyReadError::Finished.into(), 500),
        (BodyReadError::Io(io::ErrorKind::TimedOut.into()).into(), 504),
        (BodyError::TrailersTooLarge.into(), 431),
        (io::Error::from(io::ErrorKind::TimedOut).into(), 504),
        (io::Error::from(BodyReadError::Stalled).into(), 408),
        (io::Error::other(BodyError::TooLarge).into(), 413),
        (park::cancelled().into(), 499),
        (io::Error::from(io::ErrorKind::NotFound).into(), 500),
        (Driver(io::ErrorKind::TimedOut.into()).into(), 504),
        (Driver(park::cancelled()).into(), 499),
        (Driver(io::ErrorKind::ConnectionReset.into()).into(), 500),
        (Error::internal("x"), 500),
        (Error::new(StatusCode::CONFLICT, "x"), 409),
    ];
    for (error, status) in table {
        assert_eq!(error.status().as_u16(), status, "{error}");
    }
}

#[test]
fn the_client_never_reads_the_reason_of_a_500_and_the_log_does() {
    let error = Error::from(Driver(io::Error::other("password of the database")));
    assert_eq!(error.message(), "internal server error");
    assert_eq!(error.to_string(), "the query failed: password of the database");
    let body = error.into_response().into_body().collect(1024).unwrap();
    assert_eq!(&body[..], b"internal server error");
}

#[test]
fn problem_details_have_the_members_of_rfc_9457() {
    let mut response = Error::not_found("no such article").into_response();
    let failure = response.extensions().get::<Failure>().expect("it is an error's response").clone();
    failure.write_problem(&mut response);
    assert_eq!(response.body().content_type(), Some("application/problem+json"));
    let body = response.into_body().collect(1024).unwrap();
    let value: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(value, serde_json::json!({"title": "Not Found", "status": 404, "detail": "no such article"}));
}
