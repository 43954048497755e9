"""What is done with faces in photographs: found, embedded, verified, clustered; by a trained task or other networks."""
