"""HTTP, without users: cookies, headers, activity and CSRF."""
