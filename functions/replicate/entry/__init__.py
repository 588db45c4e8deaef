"""What invokes the function: what each invoker sends, and what it is answered."""
