//! What an evaluation costs: `cargo run --release -p portcullis-expr --example cost`.

#![expect(clippy::print_stdout, reason = "printing is what it is for")]
#![expect(clippy::disallowed_methods, reason = "it measures time")]

use std::{error::Error, sync::Arc, time::Instant};

use portcullis_expr::{Budget, Inputs, Limits, Options, Program, Situation, User, testing::Nobody};

const EXPRESSIONS: [(&str, &str); 9] = [
    ("a constant", "return True"),
    ("e-mail domain", "return request.user.email.endswith('@example.org')"),
    ("attribute", "return request.user.attributes.get('department') == 'wonderland'"),
    ("groups, in a list", "return 'staff' in [group.name for group in request.user.all_groups()]"),
    ("groups, as a collection", "return request.user.ak_groups.filter(name='staff').exists()"),
    ("membership", "return ak_is_group_member(request.user, name='staff')"),
    ("address", "return ak_client_ip in ip_network('10.0.0.0/8')"),
    (
        "profile claims",
        "return {'name': request.user.name, 'preferred_username': request.user.username, 'nickname': \
         request.user.username, 'groups': [group.name for group in request.user.ak_groups.order_by('name')]}",
    ),
    ("a hundred iterations", "n = 0\nfor x in range(100):\n    n += x\nreturn n == 4950"),
];

fn main() -> Result<(), Box<dyn Error>> {
    let user = User {
        pk: Some(7),
        username: "alice".to_owned(),
        name: "Alice Liddell".to_owned(),
        email: "alice@example.org".to_owned(),
        attributes: [("department".to_owned(), "wonderland".into())].into_iter().collect(),
        ..User::default()
    };
    let inputs = Inputs { user: Some(Arc::new(user)), client_ip: Some("10.1.2.3".parse()?), ..Inputs::default() };
    println!("{:24} {:>10} {:>10}", "", "compile", "run");
    for (name, source) in EXPRESSIONS {
        let compile = time(200, || Program::compile(source, Situation::Policy, &Options::default()).map(drop))?;
        let program = Program::compile(source, Situation::Policy, &Options::default())?;
        let run = time(20_000, || program.run(&inputs, &Nobody, &Budget::new(Limits::default())).map(drop))?;
        println!("{name:24} {compile:>7.1} µs {run:>7.2} µs");
    }
    Ok(())
}

/// Microseconds per call.
fn time<E>(times: u32, mut call: impl FnMut() -> Result<(), E>) -> Result<f64, E> {
    let start = Instant::now();
    for _ in 0..times {
        call()?;
    }
    Ok(start.elapsed().as_secs_f64() * 1e6 / f64::from(times))
}
