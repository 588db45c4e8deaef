"""What building and trying out the deployment needs. Run by make."""
