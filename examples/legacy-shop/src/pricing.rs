//! What an order costs: quantity discounts, shipping by weight and country, tax.

use serde::Serialize;

use crate::cart::Line;
use crate::error::Error;
use crate::money::per_cent;

/// From so many pieces of one article on, so many per cent off.
const DISCOUNTS: [(u32, u32); 3] = [(50, 15), (10, 8), (5, 3)];
/// From this amount on shipping is free inside the country.
const FREE_SHIPPING_CENTS: u32 = 10_000;

#[derive(Clone, Copy, Debug)]
pub struct Destination {
    pub code: &'static str,
    tax: u32,
    base_cents: u32,
    per_kilogram_cents: u32,
    free_shipping: bool,
}

pub const DESTINATIONS: [Destination; 4] = [
    Destination { code: "DE", tax: 19, base_cents: 390, per_kilogram_cents: 50, free_shipping: true },
    Destination { code: "AT", tax: 20, base_cents: 690, per_kilogram_cents: 90, free_shipping: false },
    Destination { code: "FR", tax: 20, base_cents: 890, per_kilogram_cents: 110, free_shipping: false },
    Destination { code: "PL", tax: 23, base_cents: 790, per_kilogram_cents: 100, free_shipping: false },
];

#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Quote {
    pub goods_cents: u32,
    pub discount_cents: u32,
    pub shipping_cents: u32,
    pub tax_cents: u32,
    pub total_cents: u32,
}

pub fn destination(code: &str) -> Result<Destination, Error> {
    DESTINATIONS.into_iter().find(|place| place.code == code).ok_or(Error::Invalid("we do not ship there"))
}

pub fn quote(lines: &[Line], place: Destination) -> Quote {
    let goods_cents: u32 = lines.iter().map(Line::cents).sum();
    let discount_cents: u32 = lines.iter().map(|line| per_cent(line.cents(), discount(line.quantity))).sum();
    let grams: u32 = lines.iter().map(|line| line.weight_grams * line.quantity).sum();
    let net = goods_cents - discount_cents;
    let shipping_cents = match place.free_shipping && net >= FREE_SHIPPING_CENTS {
        true => 0,
        false if lines.is_empty() => 0,
        false => place.base_cents + place.per_kilogram_cents * grams.div_ceil(1000),
    };
    let tax_cents = per_cent(net + shipping_cents, place.tax);
    Quote {
        goods_cents,
        discount_cents,
        shipping_cents,
        tax_cents,
        total_cents: net + shipping_cents + tax_cents,
    }
}

fn discount(quantity: u32) -> u32 {
    DISCOUNTS.iter().find(|(from, _)| quantity >= *from).map_or(0, |(_, percentage)| *percentage)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(price_cents: u32, weight_grams: u32, quantity: u32) -> Line {
        Line { product: 1, name: "Lamp".to_owned(), price_cents, weight_grams, quantity }
    }

    #[test]
    fn many_pieces_are_cheaper() {
        let place = destination("DE").unwrap();
        assert_eq!(quote(&[line(1000, 100, 4)], place).discount_cents, 0);
        assert_eq!(quote(&[line(1000, 100, 10)], place).discount_cents, 800);
    }

    #[test]
    fn shipping_counts_whole_kilograms_and_is_free_for_large_orders_at_home() {
        let home = destination("DE").unwrap();
        assert_eq!(quote(&[line(1000, 1200, 1)], home).shipping_cents, 490);
        assert_eq!(quote(&[line(20_000, 1200, 1)], home).shipping_cents, 0);
        assert_eq!(quote(&[line(20_000, 1200, 1)], destination("FR").unwrap()).shipping_cents, 1110);
    }

    #[test]
    fn nothing_costs_nothing() {
        assert_eq!(quote(&[], destination("DE").unwrap()).total_cents, 0);
    }

    #[test]
    fn an_unknown_country_is_refused() {
        assert!(destination("XX").is_err());
    }
}
