//! What can go wrong, and what the customer is told.

use std::fmt;

use crate::http::Response;

#[derive(Debug)]
pub enum Error {
    NotFound,
    Invalid(&'static str),
    SoldOut(String),
    Declined(String),
    Database(mysql::Error),
    Cache(redis::RedisError),
    Partner(ureq::Error),
    Template(minijinja::Error),
}

impl Error {
    pub fn into_response(self) -> Response {
        let (status, message) = match &self {
            Error::NotFound => (404, "There is no such page.".to_owned()),
            Error::Invalid(what) => (400, format!("Please check your input: {what}.")),
            Error::SoldOut(name) => (409, format!("{name} has just been sold out.")),
            Error::Declined(reason) => (402, format!("The payment was declined: {reason}.")),
            _ => {
                eprintln!("shop: {self}");
                (500, "Something went wrong on our side.".to_owned())
            }
        };
        Response::html(status, format!("<!doctype html><title>{status}</title><p>{message}</p>\n"))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::NotFound => f.write_str("not found"),
            Error::Invalid(what) => write!(f, "invalid input: {what}"),
            Error::SoldOut(name) => write!(f, "sold out: {name}"),
            Error::Declined(reason) => write!(f, "declined: {reason}"),
            Error::Database(error) => write!(f, "database: {error}"),
            Error::Cache(error) => write!(f, "cache: {error}"),
            Error::Partner(error) => write!(f, "partner: {error}"),
            Error::Template(error) => write!(f, "template: {error}"),
        }
    }
}

impl std::error::Error for Error {}

impl From<mysql::Error> for Error {
    fn from(error: mysql::Error) -> Self {
        Error::Database(error)
    }
}

impl From<redis::RedisError> for Error {
    fn from(error: redis::RedisError) -> Self {
        Error::Cache(error)
    }
}

impl From<ureq::Error> for Error {
    fn from(error: ureq::Error) -> Self {
        Error::Partner(error)
    }
}

impl From<minijinja::Error> for Error {
    fn from(error: minijinja::Error) -> Self {
        Error::Template(error)
    }
}
