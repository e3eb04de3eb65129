//! How a collection is read page by page: what to ask for next, and when there have been too many.
//!
//! Invariant: only the first page says at which version; the server's token carries it on from there. What a page is made of, and
//! what is done when one does not come, is for who reads.

use kube::api::{ListParams, VersionMatch};

/// The pages of one list.
#[derive(Debug)]
pub(super) struct Pager {
    size: u32,
    left: usize,
    next: ListParams,
}

impl Pager {
    /// Pages of `size` objects, at most `pages` of them, at the version `at` exactly or at any.
    pub fn new(size: u32, pages: usize, at: Option<&str>) -> Pager {
        let mut next = ListParams::default().limit(size);
        if let Some(at) = at {
            next.resource_version = Some(at.to_owned());
            next.version_match = Some(VersionMatch::Exact);
        }
        Pager { size, left: pages, next }
    }

    /// What to ask for; `None`: there have been more pages than there may be.
    pub fn ask(&mut self) -> Option<&ListParams> {
        self.left = self.left.checked_sub(1)?;
        Some(&self.next)
    }

    /// A page has come, with this token in it. Whether there is more.
    pub fn goes_on(&mut self, token: Option<&str>) -> bool {
        let token = token.filter(|token| !token.is_empty());
        if let Some(token) = token {
            self.next = ListParams::default().limit(self.size).continue_token(token);
        }
        token.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_leads_on_until_there_is_none_or_too_many() {
        let mut pager = Pager::new(10, 2, Some("7"));
        let first = pager.ask().unwrap();
        assert_eq!(
            (first.limit, first.resource_version.as_deref(), &first.continue_token),
            (Some(10), Some("7"), &None)
        );
        assert!(!pager.goes_on(None) && !pager.goes_on(Some("")));
        assert!(pager.goes_on(Some("x")));
        let second = pager.ask().unwrap();
        assert_eq!(
            (second.limit, &second.resource_version, second.continue_token.as_deref()),
            (Some(10), &None, Some("x"))
        );
        assert!(pager.goes_on(Some("y")) && pager.ask().is_none());
    }
}
