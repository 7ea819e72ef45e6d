#include "threads.h"

#include <unistd.h>

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "network.h"

namespace gossamer {

struct Team::Shared {
  std::mutex mutex;
  std::condition_variable wake, done;
  uint64_t round = 0;
  int running = 0;
  bool stop = false;
  void (*call)(const void*, int) = nullptr;
  const void* context = nullptr;
  std::vector<std::thread> workers;
  pid_t owner = 0;
};

Team::Team(int threads) : threads_(threads) {
  if (threads_ > 1) start();
}

void Team::start() {
  shared_ = std::make_unique<Shared>();
  shared_->owner = getpid();
  Shared* s = shared_.get();
  try {
    for (int part = 1; part < threads_; ++part) {
      s->workers.emplace_back([s, part] {
        uint64_t seen = 0;
        std::unique_lock<std::mutex> lock(s->mutex);
        for (;;) {
          s->wake.wait(lock, [&] { return s->stop || s->round != seen; });
          if (s->stop) return;
          seen = s->round;
          lock.unlock();
          s->call(s->context, part);
          lock.lock();
          if (--s->running == 0) s->done.notify_one();
        }
      });
    }
  } catch (...) {  // no more threads to be had: end those that started
    {
      std::lock_guard<std::mutex> lock(s->mutex);
      s->stop = true;
    }
    s->wake.notify_all();
    for (std::thread& worker : s->workers) worker.join();
    shared_.reset();
    throw Error{Error::Kind::plan,
                "expected to start " + std::to_string(threads_ - 1) + " threads, got fewer; ask for fewer threads"};
  }
}

Team::~Team() {
  if (!shared_) return;
  if (shared_->owner != getpid()) {  // after a fork the threads do not exist here: joining them would hang
    (void)shared_.release();
    return;
  }
  {
    std::lock_guard<std::mutex> lock(shared_->mutex);
    shared_->stop = true;
  }
  shared_->wake.notify_all();
  for (std::thread& worker : shared_->workers) worker.join();
}

void Team::run_parts(void (*call)(const void*, int), const void* context) {
  if (shared_ && shared_->owner != getpid()) (void)shared_.release();
  if (!shared_) start();  // after a fork, and again where that failed
  Shared& s = *shared_;
  {
    std::lock_guard<std::mutex> lock(s.mutex);
    s.call = call;
    s.context = context;
    s.running = threads_ - 1;
    ++s.round;
  }
  s.wake.notify_all();
  call(context, 0);
  std::unique_lock<std::mutex> lock(s.mutex);
  s.done.wait(lock, [&] { return s.running == 0; });
}

}  // namespace gossamer
