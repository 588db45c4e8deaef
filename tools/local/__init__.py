"""Everything that lets the function run on one machine, without any cloud account."""
