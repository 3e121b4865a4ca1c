"""A job as its card shows it: one state, drawn as text, as static HTML and as JSON. Pure."""
