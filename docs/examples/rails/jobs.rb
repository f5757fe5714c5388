# The same jobs for Rails 8 with ActiveJob on Sidekiq, to compare with. Rails keeps each in a file of
# its own. Mailers, models and clients are elsewhere, as in the Python examples.

# Gems: activejob-uniqueness, sentry-ruby, sidekiq-cron

class ApplicationJob < ActiveJob::Base
  queue_as :default
  self.enqueue_after_transaction_commit = true
  retry_on Net::OpenTimeout, wait: :polynomially_longer, attempts: 5
  discard_on ActiveRecord::RecordNotFound
end

class WelcomeEmailJob < ApplicationJob
  def perform(user_id)
    user = User.find(user_id)
    UserMailer.welcome(user).deliver_now
    user.update!(welcomed_at: Time.current)
    ReminderJob.set(wait: 3.days).perform_later(user_id)
  end
end

class ReminderJob < ApplicationJob
  def perform(user_id)
    user = User.find(user_id)
    return if user.activated_at? || user.unsubscribed_at?

    UserMailer.reminder(user).deliver_later
  end
end

class ThumbnailJob < ApplicationJob
  queue_as :images
  unique :until_executed, on_conflict: :log

  def perform(photo_id, width = 800)
    photo = Photo.find(photo_id)
    photo.thumbnail.attach(Thumbnails.shrink(photo.original, width))
    message = { event: "thumbnail_ready", photo_id: photo_id }
    ActionCable.server.broadcast("user_#{photo.user_id}", message)
  end
end

class ImportUsersJob < ApplicationJob
  queue_as :low

  def perform(import_id)
    import = Import.find(import_id)
    rows = CSV.parse(import.file.download.force_encoding("UTF-8"), headers: true)
    import.update!(total: rows.size)
    rows.each.with_index(1) do |row, number|
      ImportRowJob.perform_later(import_id, number, row.to_h)
    end
    CompleteImportJob.set(wait: 1.minute).perform_later(import_id)
  rescue CSV::MalformedCSVError, EncodingError => error
    import.update!(error: error.message)
    ImportMailer.failed(import).deliver_later
  end
end

class ImportRowJob < ApplicationJob
  queue_as :low

  def perform(import_id, number, row)
    import = Import.find(import_id)
    return if import.rows.exists?(number: number)

    user = User.new(name: row["name"], email: row["email"])
    problem = user.errors.full_messages.to_sentence unless user.save
    import.rows.create!(number: number, problem: problem)
  end
end

class CompleteImportJob < ApplicationJob
  queue_as :low

  def perform(import_id)
    import = Import.find(import_id)
    if import.rows.count < import.total
      CompleteImportJob.set(wait: 1.minute).perform_later(import_id)
    else
      import.update!(completed_at: Time.current)
      created = import.rows.where(problem: nil).count
      ImportMailer.completed(import, created).deliver_later
    end
  end
end

class DailyReportJob < ApplicationJob
  queue_as :low

  def perform
    report = DailyReport.create_for(Date.yesterday)
    User.where(is_admin: true).find_each do |admin|
      ReportMailer.daily(admin, report).deliver_later
    end
  end
end

class SyncProductsJob < ApplicationJob
  queue_as :critical
  retry_on SupplierApi::Error, attempts: 10,
           wait: ->(executions) { executions**4 + rand(30) }

  def perform(supplier_id)
    started = Process.clock_gettime(Process::CLOCK_MONOTONIC)
    supplier = Supplier.find(supplier_id)
    products = SupplierApi.products(supplier.url)
    Supplier.transaction do
      products.each do |product|
        supplier.products.find_or_initialize_by(sku: product[:sku]).update!(product)
      end
      supplier.update!(synced_at: Time.current)
    end
    JobMetrics.success("sync_products", started)
  rescue SupplierApi::Error => error
    JobMetrics.failure("sync_products", started)
    Sentry.capture_exception(error, extra: { job_id: job_id })
    if executions > 3
      User.where(is_admin: true).find_each do |admin|
        AdminMailer.sync_alert(admin, supplier, executions, error).deliver_now
      end
    end
    raise
  end
end

class NewsletterJob < ApplicationJob
  queue_as :low

  def perform(newsletter_id)
    newsletter = Newsletter.find(newsletter_id)
    User.where(unsubscribed_at: nil).find_in_batches(batch_size: 100) do |users|
      users.each do |user|
        NewsletterMailer.issue(user, newsletter).deliver_later(queue: "emails", priority: 10)
      end
      sleep 0.1
    end
  end
end
