"""A venue that only imagines: orders filled against the books that are seen, nothing sent."""
