"""Django asks an app for its models before it tells of migrations; our tables are our own."""
