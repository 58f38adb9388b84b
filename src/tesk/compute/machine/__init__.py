"""What backends on one machine have in common: its processes and places, its size, what is out of reach from a network."""
