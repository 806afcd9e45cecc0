"""What is moving: Redis as a doorbell, Celery as the ones who answer it."""
