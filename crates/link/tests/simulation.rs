//! Thousands of networks in trouble, in one thread; see `world`. `cargo xtask simulate link --seeds N` runs more of them.

mod world;

/// `ANLAN_SEEDS=N` or `ANLAN_SEED=K` for one.
#[test]
fn all_levels_agree_whatever_happens() {
    let number = |key: &str| std::env::var(key).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = match number("ANLAN_SEED") {
        Some(one) => one..one + 1,
        None => 0..number("ANLAN_SEEDS").unwrap_or(300),
    };
    let n_seeds = seeds.end - seeds.start;
    let (mut faults, mut checks, mut readings, mut frozen, mut forgot, mut thinned, mut violations) = (0, 0, 0, 0, 0, 0, 0);
    for seed in seeds {
        let report = world::run(seed);
        faults += report.faults;
        checks += report.checks;
        readings += report.readings;
        frozen += report.frozen;
        forgot += report.forgot;
        thinned += report.thinned;
        violations += report.violations.len();
        for violation in &report.violations {
            println!("seed {seed}: {violation}");
        }
    }
    println!("readings {readings}, of which gave way {thinned}, streams frozen {frozen}, feeds numbered anew {forgot}");
    println!("simulate link: seeds {n_seeds} faults {faults} checks {checks}, {violations} violations");
    assert_eq!(violations, 0);
    assert!(readings > 0 && checks > 0);
}
