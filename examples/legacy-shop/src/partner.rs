//! The partner's service: recommendations and payments, over HTTP.

use crate::error::Error;
use crate::stores::Stores;

/// Most recommendations that are shown.
const SHOWN_MAX: usize = 4;

/// What people who like this article like as well. The page is worth something without it: errors mean none.
pub fn recommendations(stores: &mut Stores, product: u32) -> Vec<u32> {
    let url = format!("{}/recommend?product={product}", stores.partner_url);
    let answer = stores.partner.get(url).call().and_then(|mut answer| answer.body_mut().read_to_string());
    match answer {
        Ok(text) => text.split(',').filter_map(|id| id.trim().parse().ok()).take(SHOWN_MAX).collect(),
        Err(error) => {
            eprintln!("shop: no recommendations: {error}");
            Vec::new()
        }
    }
}

/// Takes the money; the receipt's number.
pub fn pay(stores: &mut Stores, session: &str, cents: u32) -> Result<String, Error> {
    let url = format!("{}/pay?reference={session}&cents={cents}", stores.partner_url);
    let answer = stores.partner.post(url).send_empty()?.body_mut().read_to_string()?;
    match answer.trim().split_once(' ') {
        Some(("ok", receipt)) => Ok(receipt.to_owned()),
        _ => Err(Error::Declined(answer.trim().to_owned())),
    }
}
