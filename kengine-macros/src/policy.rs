//! The policy of a route: `rate = "30/s", burst = 60, max_size = "512B", timeout = "50ms"`.

use proc_macro2::{Ident, Literal, TokenStream};
use quote::quote;
use syn::{
    LitInt, LitStr,
    ext::IdentExt,
    parse::{Parse, ParseStream},
};

use crate::{
    errors::Errors,
    options::{self, value},
};

/// What a value looks like, and each unit with what it stands for.
struct Shape {
    words: &'static str,
    units: &'static [(&'static str, u64)],
}

/// In seconds.
const RATE: Shape = Shape {
    words: r#"a rate is a count per unit: `rate = "30/s"`; the units are `s`, `min` and `h`"#,
    units: &[("/s", 1), ("/min", 60), ("/h", 3600)],
};
/// In bytes.
const MAX_SIZE: Shape = Shape {
    words: r#"a size is a number and a unit: `max_size = "512B"`; the units are `B`, `KiB` and `MiB`"#,
    units: &[("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20)],
};
/// In milliseconds.
const TIMEOUT: Shape = Shape {
    words: r#"a time is a number and a unit: `timeout = "50ms"`; the units are `ms`, `s` and `min`"#,
    units: &[("ms", 1), ("s", 1000), ("min", 60_000)],
};
const EXPECTED: &str = "expected `rate`, `burst`, `max_size` or `timeout`";
const BURST: &str = "a burst is a count: `burst = 60`";

/// What a route's messages may cost; what is not given is not limited.
#[derive(Default)]
pub(crate) struct Policy {
    /// So many messages in so many seconds.
    rate: Option<(u32, u64)>,
    burst: Option<(Ident, u32)>,
    /// In bytes.
    max_size: Option<u64>,
    /// In milliseconds.
    timeout: Option<u64>,
}

impl Policy {
    /// Reads `name = value, …` to the end.
    pub(crate) fn parse(input: ParseStream<'_>, errors: &mut Errors) -> syn::Result<Self> {
        let mut policy = Self::default();
        options::list(input, errors, |input, _| policy.option(input).map(Some))?;
        if let (Some((name, _)), None) = (&policy.burst, policy.rate) {
            errors.at(name, r#"`burst` needs a rate beside it: `rate = "30/s"`"#);
        }
        Ok(policy)
    }

    fn option(&mut self, input: ParseStream<'_>) -> syn::Result<Ident> {
        let name = input.call(Ident::parse_any).map_err(|error| syn::Error::new(error.span(), EXPECTED))?;
        match name.to_string().as_str() {
            "rate" => {
                let (count, seconds, literal) = quantity(&name, &RATE, input)?;
                let count = u32::try_from(count).map_err(|_| too_large(&name, &literal))?;
                self.rate = Some((count, seconds));
            }
            "burst" => {
                let literal: LitInt = value(&name, input, <LitInt as Parse>::parse, BURST)?;
                let burst = literal.base10_parse().map_err(|_| syn::Error::new(literal.span(), BURST))?;
                if burst == 0 {
                    return Err(syn::Error::new(literal.span(), "`burst` must not be zero"));
                }
                self.burst = Some((name.clone(), burst));
            }
            "max_size" => self.max_size = Some(product(&name, &MAX_SIZE, input)?),
            "timeout" => self.timeout = Some(product(&name, &TIMEOUT, input)?),
            unknown => {
                let message = format!("unknown option `{unknown}`; {EXPECTED}");
                return Err(syn::Error::new(name.span(), message));
            }
        }
        Ok(name)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rate.is_none() && self.max_size.is_none() && self.timeout.is_none()
    }

    /// What stands behind `Route::new("move")`:
    ///
    /// ```text
    /// .rate(30, ::core::time::Duration::from_secs(1), 60).max_size(512).timeout(::core::time::Duration::from_millis(50))
    /// ```
    pub(crate) fn builder(&self) -> TokenStream {
        let number = |number: u64| Literal::u64_unsuffixed(number);
        let rate = self.rate.map(|(count, seconds)| {
            let burst = self.burst.as_ref().map_or(count, |(_, burst)| *burst);
            let [count, burst, seconds] = [count.into(), burst.into(), seconds].map(number);
            quote!(.rate(#count, ::core::time::Duration::from_secs(#seconds), #burst))
        });
        let max_size = self.max_size.map(|bytes| quote!(.max_size(#bytes as usize)));
        let timeout = self.timeout.map(|limit| quote!(.timeout(::core::time::Duration::from_millis(#limit))));
        quote!(#rate #max_size #timeout)
    }
}

/// `= "30/s"`: the number and what the unit stands for.
fn quantity(name: &Ident, shape: &Shape, input: ParseStream<'_>) -> syn::Result<(u64, u64, LitStr)> {
    let literal: LitStr = value(name, input, <LitStr as Parse>::parse, shape.words)?;
    let text = literal.value();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let known = shape.units.iter().find(|(name, _)| *name == unit.trim_start());
    let (Some((_, factor)), false) = (known, number.is_empty()) else {
        return Err(syn::Error::new(literal.span(), shape.words));
    };
    let number: u64 = number.parse().map_err(|_| too_large(name, &literal))?;
    if number == 0 {
        return Err(syn::Error::new(literal.span(), format!("`{name}` must not be zero")));
    }
    Ok((number, *factor, literal))
}

/// `= "512B"`, in the smallest unit; no route needs more than 32 bits of it.
fn product(name: &Ident, shape: &Shape, input: ParseStream<'_>) -> syn::Result<u64> {
    let (number, factor, literal) = quantity(name, shape, input)?;
    let product = number.checked_mul(factor).filter(|product| *product <= u32::MAX.into());
    product.ok_or_else(|| too_large(name, &literal))
}

fn too_large(name: &Ident, literal: &LitStr) -> syn::Error {
    syn::Error::new(literal.span(), format!("`{name}` is too large"))
}
