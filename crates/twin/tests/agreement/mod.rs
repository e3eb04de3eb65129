//! How far what was found agrees with what was recorded.

/// Prints agreement and the first difference; fails when more than `allowed` cases differ.
pub fn report(family: &str, differences: Vec<String>, total: usize, allowed: usize) {
    println!("{family}: {} agreed, {} differ", total - differences.len(), differences.len());
    for difference in differences.iter().take(8) {
        println!("  {}", difference.chars().take(4000).collect::<String>());
    }
    assert!(differences.len() <= allowed, "{family}: {} differ, at most {allowed} may", differences.len());
}
