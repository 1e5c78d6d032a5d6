//! What it costs to merge the attributes of a user in many groups: `cargo run --release -p portcullis-core --example merge`.

#![expect(clippy::print_stdout, reason = "printing is what it is for")]
#![expect(clippy::disallowed_methods, reason = "it measures time")]

use std::hint::black_box;
use std::time::Instant;

use portcullis_core::attributes::{Attributes, merge};
use serde_json::json;

const ROUNDS: u32 = 2_000;

fn main() {
    println!("{:>8} {:>12}", "groups", "merge");
    for groups in [3_u32, 20, 200] {
        let groups: Vec<Attributes> = (0..groups).map(attributes).collect();
        let began = Instant::now();
        for _ in 0..ROUNDS {
            let mut merged = Attributes::new();
            for group in &groups {
                merge(&mut merged, group.clone());
            }
            black_box(merged);
        }
        println!("{:>8} {:>9.1} µs", groups.len(), began.elapsed().as_secs_f64() * 1e6 / f64::from(ROUNDS));
    }
}

/// A group's attributes: two of its own, one that all groups set, an object, and a list that grows with every group.
fn attributes(number: u32) -> Attributes {
    let value = json!({
        format!("key-{}", number % 50): number,
        "department": format!("department {number}"),
        "notes": {"user": format!("user-{number}"), "level": number % 5},
        "shares": [format!("share-{number}")],
    });
    value.as_object().cloned().unwrap_or_default()
}
