"""What face models are worth: verification, calibration, clustering, galleries, figures."""
