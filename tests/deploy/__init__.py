"""What is deployed, on the real thing as far as this machine has it: a control plane, an image."""
